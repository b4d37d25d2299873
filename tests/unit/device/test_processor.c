// The name of the processor, from the /proc/cpuinfo of x86-64 and aarch64 machines.
#include "device/cpu/processor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void check(const char *text, const char *expected) {
    char copy[512], name[64];
    snprintf(copy, sizeof copy, "%s", text);
    FILE *file = fmemopen(copy, strlen(copy), "r");
    assert_non_null(file);
    cpu_processor_name(name, sizeof name, file);
    fclose(file);
    assert_string_equal(name, expected);
}

static void test_x86(void **state) {
    (void)state;
    check("processor\t: 0\nvendor_id\t: X\nmodel name\t: X Processor @ 2 GHz\nmodel name\t: Y\n",
          "X Processor @ 2 GHz");
}

static void test_aarch64(void **state) {
    (void)state;
    check("processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd4f\n",
          "Arm Neoverse V2");
    check("processor\t: 0\nCPU implementer\t: 0x61\nCPU variant\t: 0x1\nCPU part\t: 0x022\n",
          "aarch64 implementer 0x61, part 0x22");
}

static void test_unknown(void **state) {
    (void)state;
    char name[64];
    check("processor: 0\nno colon\n", "unknown processor");
    cpu_processor_name(name, sizeof name, NULL);
    assert_string_equal(name, "unknown processor");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_x86), cmocka_unit_test(test_aarch64),
                                       cmocka_unit_test(test_unknown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

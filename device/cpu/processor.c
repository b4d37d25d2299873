#include "device/cpu/processor.h"

#include <stdlib.h>
#include <string.h>

// Fields MIDR_EL1.Implementer and PartNum of common aarch64 servers.
static const struct {
    unsigned long implementer, part;
    const char *name;
} parts[] = {{0x41, 0xd0c, "Arm Neoverse N1"}, {0x41, 0xd40, "Arm Neoverse V1"}, {0x41, 0xd49, "Arm Neoverse N2"},
             {0x41, 0xd4f, "Arm Neoverse V2"}, {0x41, 0xd84, "Arm Neoverse V3"}, {0xc0, 0xac3, "Ampere-1"}};

static void part_name(char *name, size_t size, unsigned long implementer, unsigned long part) {
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].implementer == implementer && parts[i].part == part) {
            snprintf(name, size, "%s", parts[i].name);
            return;
        }
    snprintf(name, size, "aarch64 implementer 0x%lx, part 0x%lx", implementer, part);
}

void cpu_processor_name(char *name, size_t size, FILE *cpuinfo) {
    snprintf(name, size, "unknown processor");
    if (cpuinfo == NULL) return;
    char line[512];
    unsigned long implementer = 0;
    while (fgets(line, sizeof line, cpuinfo)) {
        char *colon = strchr(line, ':');
        if (colon == NULL) continue;
        colon[strcspn(colon, "\n")] = 0;
        const char *value = colon + (colon[1] == ' ' ? 2 : 1);
        if (!strncmp(line, "model name", 10)) {
            snprintf(name, size, "%s", value);
            return;
        }
        if (!strncmp(line, "CPU implementer", 15)) implementer = strtoul(value, NULL, 0);
        if (implementer && !strncmp(line, "CPU part", 8)) {
            part_name(name, size, implementer, strtoul(value, NULL, 0));
            return;
        }
    }
}

// What launchers set in the environment, and the place among the ranks that follows from it.
#include "device/comm/launch.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

static void set(const char *const *variables) {
    clearenv();
    for (; variables[0]; variables += 2) setenv(variables[0], variables[1], 1);
}

static Launch detect(const char *const *variables, const char *rendezvous) {
    Launch l;
    Error err = {""};
    set(variables);
    if (!launch_detect(&l, rendezvous, &err)) fail_msg("%s", err.text);
    return l;
}

static void expect(Launch l, const char *launcher, int rank, int size, int local_rank, int local_size,
                   const char *host, int port) {
    if (launcher) assert_string_equal(l.launcher, launcher);
    else assert_null(l.launcher);
    assert_int_equal(l.rank, rank);
    assert_int_equal(l.size, size);
    assert_int_equal(l.local_rank, local_rank);
    assert_int_equal(l.local_size, local_size);
    assert_string_equal(l.host, host);
    if (port) assert_int_equal(l.port, port);
}

#define ENV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_launchers(void **state) {
    (void)state;
    expect(detect(ENV(NULL), ""), NULL, 0, 1, 0, 1, "", 0);
    expect(detect(ENV("RANK", "3", "WORLD_SIZE", "4", "LOCAL_RANK", "1", "LOCAL_WORLD_SIZE", "2", "MASTER_ADDR",
                      "n0", "MASTER_PORT", "1234"),
                  ""),
           "torchrun", 3, 4, 1, 2, "n0", 1234);
    expect(detect(ENV("RANK", "1", "WORLD_SIZE", "2", "LOCAL_WORLD_SIZE", "1", "MASTER_ADDR", "n0", "MASTER_PORT",
                      "1234", "TORCHELASTIC_USE_AGENT_STORE", "True"),
                  ""),
           "torchrun", 1, 2, 1, 1, "n0", 1235); // its own server has the port
    expect(detect(ENV("OMPI_COMM_WORLD_RANK", "2", "OMPI_COMM_WORLD_SIZE", "3", "OMPI_COMM_WORLD_LOCAL_RANK", "2",
                      "OMPI_COMM_WORLD_LOCAL_SIZE", "3"),
                  ""),
           "Open MPI", 2, 3, 2, 3, "", 0);
    expect(detect(ENV("PMI_RANK", "0", "PMI_SIZE", "2", "MPI_LOCALRANKID", "0", "MPI_LOCALNRANKS", "2"), ""),
           "Hydra", 0, 2, 0, 2, "", 0);
    expect(detect(ENV("SLURM_PROCID", "5", "SLURM_STEP_NUM_TASKS", "6", "SLURM_LOCALID", "1", "SLURM_STEP_ID", "0"),
                  ""),
           "srun", 5, 6, 1, 6, "", 0);
    expect(detect(ENV("SLURM_PROCID", "5", "SLURM_STEP_NUM_TASKS", "6", "SLURM_LOCALID", "1", "SLURM_STEP_ID", "0",
                      "SLURM_STEP_NUM_NODES", "3", "SLURM_STEP_NODELIST", "gpu[07-09],x1"),
                  ""),
           "srun", 5, 6, 1, 2, "gpu07", 29571);
    // A batch script itself: SLURM_PROCID without a step. One task: a process alone.
    expect(detect(ENV("SLURM_PROCID", "0", "SLURM_NTASKS", "4"), ""), NULL, 0, 1, 0, 1, "", 0);
    expect(detect(ENV("SLURM_PROCID", "0", "SLURM_STEP_NUM_TASKS", "1", "SLURM_STEP_ID", "0"), ""), NULL, 0, 1, 0,
           1, "", 0);
    expect(detect(ENV("OMPI_COMM_WORLD_RANK", "0", "OMPI_COMM_WORLD_SIZE", "2", "OMPI_COMM_WORLD_LOCAL_SIZE", "1"),
                  "node7:999"),
           "Open MPI", 0, 2, 0, 1, "node7", 999);
}

static void expect_error(const char *const *variables, const char *rendezvous, const char *words) {
    Launch l;
    Error err = {""};
    set(variables);
    assert_false(launch_detect(&l, rendezvous, &err));
    if (!strstr(err.text, words)) fail_msg("'%s' is not in '%s'", words, err.text);
}

static void test_errors(void **state) {
    (void)state;
    expect_error(ENV("RANK", "4", "WORLD_SIZE", "4"), "", "RANK=4 and WORLD_SIZE=4");
    expect_error(ENV("RANK", "one", "WORLD_SIZE", "4"), "", "RANK=one");
    expect_error(ENV("RANK", "-1", "WORLD_SIZE", "4"), "", "RANK=-1");
    expect_error(ENV("RANK", "0", "WORLD_SIZE", "1000000"), "", "1 to 4096");
    expect_error(ENV("OMPI_COMM_WORLD_RANK", "0", "OMPI_COMM_WORLD_SIZE", "2", "OMPI_COMM_WORLD_LOCAL_SIZE", "1"),
                 "", "--rendezvous HOST:PORT");
    expect_error(ENV(NULL), "node", "HOST:PORT");
    expect_error(ENV(NULL), "node:0", "HOST:PORT");
    expect_error(ENV(NULL), ":12", "HOST:PORT");
    expect_error(ENV(NULL), "node:99999", "HOST:PORT");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_launchers), cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

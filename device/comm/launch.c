#include "device/comm/launch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_PORT = 29571, MAX_SIZE = 4096 };

// A launcher, and its variables for rank, size, local rank, and local size or the number of hosts.
typedef struct {
    const char *name, *rank, *size, *local_rank, *local_size, *hosts;
    const char *only_with; // it is this launcher only if this variable is set, too
} Launcher;

static const Launcher launchers[] = {
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", NULL, NULL},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE", NULL, NULL},
    // In a batch script itself SLURM_PROCID is set without a step.
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", NULL, "SLURM_STEP_NUM_NODES",
     "SLURM_STEP_ID"},
    {"Hydra", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", NULL, NULL},
};

// Reads a number from the environment. Returns false if the variable is not set; errors: it is not a number.
static bool number(int *x, bool *found, const char *name, Error *err) {
    const char *text = name ? getenv(name) : NULL;
    char *end;
    *found = text != NULL && *text != 0;
    if (!*found) return true;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (*end != 0 || errno != 0 || value < 0 || value > INT_MAX)
        return error_set(err, "%s=%.40s in the environment is not a number; unset it, or start with --ranks", name,
                         text);
    *x = (int)value;
    return true;
}

static bool read_launcher(Launch *l, bool *found, const Launcher *from, Error *err) {
    bool has_rank, has_size, has_local, has_local_size, has_hosts;
    int hosts = 1;
    *found = false;
    *l = (Launch){.size = 1, .local_size = 1};
    if (from->only_with && !getenv(from->only_with)) return true;
    if (!number(&l->rank, &has_rank, from->rank, err) || !number(&l->size, &has_size, from->size, err) ||
        !number(&l->local_rank, &has_local, from->local_rank, err) ||
        !number(&l->local_size, &has_local_size, from->local_size, err) ||
        !number(&hosts, &has_hosts, from->hosts, err))
        return false;
    if (!has_rank || !has_size || l->size == 1) return true; // one task of a step is a process alone
    if (l->size < 1 || l->size > MAX_SIZE || l->rank >= l->size)
        return error_set(err, "%s=%d and %s=%d in the environment are no rank of 1 to %d; unset them", from->rank,
                         l->rank, from->size, l->size, MAX_SIZE);
    if (!has_local) l->local_rank = l->rank;
    if (!has_local_size) l->local_size = hosts > 1 ? (l->size + hosts - 1) / hosts : l->size;
    l->launcher = from->name;
    *found = true;
    return true;
}

// Splits HOST:PORT.
static bool set_address(Launch *l, const char *text, Error *err) {
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    if (!colon || colon == text || *end != 0 || port < 1 || port > 65535 ||
        (size_t)(colon - text) >= sizeof l->host)
        return error_set(err, "--rendezvous %.200s is not HOST:PORT", text);
    snprintf(l->host, sizeof l->host, "%.*s", (int)(colon - text), text);
    l->port = (int)port;
    return true;
}

// The first host of a list like "n[03-05,9],m1": "n03".
static void first_host(char *host, size_t size, const char *list) {
    size_t prefix = strcspn(list, "[,"), number_length = 0;
    if (list[prefix] == '[') number_length = strcspn(list + prefix + 1, "-,]");
    snprintf(host, size, "%.*s%.*s", (int)prefix, list, (int)number_length, list + prefix + 1);
}

static bool find_address(Launch *l, Error *err) {
    const char *master = getenv("MASTER_ADDR"), *nodes = getenv("SLURM_STEP_NODELIST");
    bool has_port = false;
    if (l->local_size >= l->size) return true;
    l->port = DEFAULT_PORT;
    if (!number(&l->port, &has_port, "MASTER_PORT", err)) return false;
    // torchrun's own server listens at MASTER_PORT.
    if (has_port && getenv("TORCHELASTIC_USE_AGENT_STORE")) l->port++;
    if (master && *master) snprintf(l->host, sizeof l->host, "%s", master);
    else if (!strcmp(l->launcher, "srun") && nodes && *nodes) first_host(l->host, sizeof l->host, nodes);
    else
        return error_set(err,
                         "%s started %d ranks, %d of them on this host, and says nowhere where rank 0 is: give "
                         "--rendezvous HOST:PORT with the host of rank 0 and a free port",
                         l->launcher, l->size, l->local_size);
    return true;
}

bool launch_detect(Launch *launch, const char *rendezvous, Error *err) {
    bool found = false;
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers && !found; i++)
        if (!read_launcher(launch, &found, &launchers[i], err)) return false;
    if (!found) *launch = (Launch){.size = 1, .local_size = 1};
    launch->job = (long)getppid();
    if (rendezvous[0]) return set_address(launch, rendezvous, err);
    return !found || find_address(launch, err);
}

// `train check-ranks`: tries a launch of several ranks without a run.
#include "run/cli/commands.h"

#include "base/output.h"
#include "base/progress.h"
#include "device/comm/comm.h"
#include "run/cli/local_ranks.h"
#include "run/options/help_texts.h"
#include "run/options/settings.h"

#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int ranks;
    char rendezvous[OPTION_TEXT_MAX];
    double rendezvous_timeout;
    bool help;
} CheckOptions;

#define OPTIONS_OF CheckOptions
static const OptionSpec specs[] = {
    OPTION_INT("ranks", ranks, "0", 0, 4096,
               .help = "processes to start on this host; 0: those that a launcher has started"),
    OPTION_TEXT("rendezvous", rendezvous, "", .value = "HOST:PORT", .help = HELP_RENDEZVOUS),
    OPTION_NUMBER("rendezvous-timeout", rendezvous_timeout, "120", 1, OPTION_NUMBER_MAX,
                  .help = HELP_RENDEZVOUS_TIMEOUT),
    OPTION_FLAG("help", help, "no", .help = HELP_HELP),
};
static const OptionTable table = OPTION_TABLE(specs);

static const char usage[] =
    "usage: train check-ranks [options]\n"
    "\n"
    "Tries the launch of several ranks: they meet, exchange data, check what arrived, and\n"
    "rank 0 prints where they run, the latency of a barrier and the bandwidth of an exchange\n"
    "in which all send to all. Ranks that are missing or do not answer are named.\n";
static const char example[] = "examples: train check-ranks --ranks 4\n"
                              "          mpirun -n 8 train check-ranks\n";

enum { BARRIERS = 200, EXCHANGES = 5, PIECE = 8 << 20 };

// Where a rank runs, and how many threads it would use.
typedef struct {
    char host[64];
    int32_t threads;
} Place;

static bool print_places(Comm *comm, const Launch *launch, Error *err) {
    int ranks = comm_size(comm), threads = local_ranks_threads(launch);
    Place own = {.threads = threads ? threads : omp_get_num_procs()};
    gethostname(own.host, sizeof own.host - 1);
    Place *all = calloc((size_t)ranks, sizeof *all);
    ASSERT(all);
    bool ok = comm_all_gather(comm, all, &own, sizeof own, err);
    printf("%d ranks, started by %s\n", ranks, launch->launcher ? launch->launcher : "nothing: one process alone");
    for (int r = 0; r < ranks && ok; r++) printf("rank %-4d %s, %d threads\n", r, all[r].host, all[r].threads);
    free(all);
    return ok;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool measure_latency(Comm *comm, Error *err) {
    double times[BARRIERS];
    for (int i = 0; i < BARRIERS; i++) {
        double begin = seconds_now();
        if (!comm_all_ok(comm, true, err)) return false;
        times[i] = seconds_now() - begin;
    }
    qsort(times, BARRIERS, sizeof *times, by_value);
    printf("barrier  %.0f us (median of %d), %.0f us at most\n", 1e6 * times[BARRIERS / 2], BARRIERS,
           1e6 * times[BARRIERS - 1]);
    return true;
}

// Byte i of the piece that rank `from` sends to rank `to`.
static unsigned char pattern(int from, int to, int i) {
    return (unsigned char)(from * 31 + to * 17 + i % 251);
}

static bool check_pieces(const CommPiece *in, int rank, int ranks, Error *err) {
    for (int r = 0; r < ranks; r++)
        for (int i = 0; i < PIECE; i++)
            if (((const unsigned char *)in[r].data)[i] != pattern(r, rank, i))
                return error_set(err, "byte %d from rank %d has arrived wrong: check the network and the memory", i,
                                 r);
    return true;
}

static bool measure_bandwidth(Comm *comm, Error *err) {
    int ranks = comm_size(comm), rank = comm_rank(comm);
    CommPiece *out = calloc(2 * (size_t)ranks, sizeof *out), *in = out + ranks;
    unsigned char *memory = malloc(2 * (size_t)ranks * PIECE);
    bool ok = out && memory;
    if (!ok) error_set(err, "out of memory for %d pieces of %d MiB", 2 * ranks, PIECE >> 20);
    for (int r = 0; r < ranks && ok; r++) {
        out[r] = (CommPiece){memory + (size_t)r * PIECE, PIECE};
        in[r] = (CommPiece){memory + (size_t)(ranks + r) * PIECE, PIECE};
        for (int i = 0; i < PIECE; i++) memory[(size_t)r * PIECE + (size_t)i] = pattern(rank, r, i);
    }
    ok = comm_all_ok(comm, ok, err);
    double best = 0;
    for (int n = 0; n < EXCHANGES && ok; n++) {
        double begin = seconds_now();
        ok = comm_exchange(comm, out, in, err);
        double rate = (double)(ranks - 1) * PIECE / (seconds_now() - begin);
        if (rate > best) best = rate;
    }
    ok = comm_all_ok(comm, ok && check_pieces(in, rank, ranks, err), err);
    if (ok)
        printf("exchange %.2f GB/s sent by every rank, all to all (best of %d), data intact\n", 1e-9 * best,
               EXCHANGES);
    free(out), free(memory);
    return ok;
}

static bool check(const CheckOptions *o, Error *err) {
    Launch launch;
    if (!launch_detect(&launch, o->rendezvous, err)) return false;
    if (launch.launcher == NULL && o->ranks > 1 && !local_ranks_start(&launch, o->ranks, err)) return false;
    if (launch.rank > 0 && !freopen("/dev/null", "w", stdout))
        return error_set(err, "cannot open /dev/null: %s", strerror(errno));
    Comm *comm = comm_open(&launch, o->rendezvous_timeout, err);
    if (comm == NULL) return false;
    bool ok = print_places(comm, &launch, err) && measure_latency(comm, err) &&
              (comm_size(comm) == 1 || measure_bandwidth(comm, err));
    if (ok) comm_close(comm);
    else comm_fail(comm, err->text);
    return ok;
}

bool command_check_ranks(int argc, const char *const *argv, Error *err) {
    CheckOptions o = {0};
    if (!options_from_arguments(&o, &table, NULL, NULL, argc - 2, argv + 2, err)) return false;
    if (o.help) return help_print_command(usage, &table, example);
    return check(&o, err);
}

#include "base/host_memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 4096 };

// Returns the number after `key` in a file of "key number" lines, or with an empty key the only number in the file;
// -1 if there is none (the value is "max", or the file is missing).
static int64_t read_number(const char *path, const char *key) {
    FILE *file = fopen(path, "r");
    char line[256];
    int64_t value = -1;
    size_t length = strlen(key);
    while (file && value < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0 && sscanf(line + length, " %" SCNd64, &value) != 1) value = -1;
    if (file) fclose(file);
    return value;
}

// The mount point and the file names of a cgroup version.
typedef struct {
    const char *root, *limit, *usage;
    const char *cache; // key in memory.stat of the reclaimable page cache
} CgroupVersion;

static const CgroupVersion versions[] = {
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
    {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"}};

// Bytes left below the limit of one cgroup; INT64_MAX if it has no limit.
static int64_t group_free(const CgroupVersion *v, const char *group) {
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s%s/%s", v->root, group, v->limit);
    int64_t limit = read_number(path, "");
    snprintf(path, sizeof path, "%s%s/%s", v->root, group, v->usage);
    int64_t usage = read_number(path, "");
    snprintf(path, sizeof path, "%s%s/memory.stat", v->root, group);
    int64_t cache = read_number(path, v->cache);
    if (limit < 0 || usage < 0) return INT64_MAX;
    int64_t left = limit - usage + (cache > 0 ? cache : 0);
    return left > 0 ? left : 0;
}

// The minimum over a cgroup and all its ancestors. In a container the ancestors' names do not resolve, but the root
// is the container's own cgroup.
static int64_t groups_free(const CgroupVersion *v, char *group) {
    int64_t least = group_free(v, "");
    for (char *end = group + strlen(group); end > group; end = strrchr(group, '/')) {
        *end = 0;
        int64_t left = group_free(v, group);
        if (left < least) least = left;
        if (!strchr(group, '/')) break;
    }
    return least;
}

int64_t host_memory_available(void) {
    int64_t kib = read_number("/proc/meminfo", "MemAvailable:");
    if (kib < 0) return 0;
    int64_t least = kib * 1024;
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[PATH_SIZE];
    while (file && fgets(line, sizeof line, file)) { // version 1: "4:memory:/group"; version 2: "0::/group"
        char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
        if (!second) continue;
        *second = 0;
        bool unified = first[1] == 0, memory = strstr(first + 1, "memory") != NULL;
        char *group = second + 1;
        group[strcspn(group, "\n")] = 0;
        if (!unified && !memory) continue;
        int64_t left = groups_free(&versions[unified], group);
        if (left < least) least = left;
    }
    if (file) fclose(file);
    return least;
}

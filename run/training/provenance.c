// The provenance record of a run, environment.json. Compiled with POLAR_COMMIT and POLAR_FLAGS from the Makefile.
#include "base/path.h"
#include "run/training/run_dir.h"

#include "base/file.h"
#include "base/json.h"
#include "device/cpu/isa.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

const char *provenance_commit(void) {
    return POLAR_COMMIT;
}

static void write_shards(JsonWriter *w, const char *key, const ShardSet *set) {
    json_begin_array(w, key);
    for (int i = 0; i < set->n_shards; i++) {
        json_begin_object(w, NULL);
        json_string(w, "path", set->shards[i].path);
        json_int(w, "tokens", set->shards[i].n_tokens);
        json_int(w, "fingerprint", set->shards[i].fingerprint);
        json_end_object(w);
    }
    json_end_array(w);
}

bool provenance_write(const RunDir *dir, const Device *device, const Datasets *data, int argc,
                      const char *const *argv, Error *err) {
    JsonWriter w = {0};
    char text[PATH_BYTES];
    struct utsname os;
    time_t now = time(NULL);
    struct tm tm;
    json_begin_object(&w, NULL);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    json_string(&w, "time", text);
    json_begin_array(&w, "command");
    for (int i = 0; i < argc; i++) json_string(&w, NULL, argv[i]);
    json_end_array(&w);
    json_string(&w, "directory", getcwd(text, sizeof text) ? text : "");
    json_string(&w, "commit", POLAR_COMMIT);
    json_string(&w, "compiler", __VERSION__);
    json_string(&w, "flags", POLAR_FLAGS);
    if (uname(&os) == 0) {
        json_string(&w, "host", os.nodename);
        snprintf(text, sizeof text, "%s %s %s", os.sysname, os.release, os.machine);
        json_string(&w, "system", text);
    }
    json_string(&w, "device", device->name);
    json_string(&w, "library", device->library);
    json_string(&w, "isa", isa_name(cpu_isa()));
    json_int(&w, "threads", device->n_threads);
    if (data) write_shards(&w, "train_data", &data->train);
    if (data) write_shards(&w, "val_data", &data->val);
    json_end_object(&w);
    path_join(text, dir->path, "environment.json");
    bool ok = file_replace(text, &(FilePiece){w.text, w.size}, 1, err);
    json_writer_free(&w);
    return ok;
}

#include "run/checkpoint/state_file.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/path.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char checksum_key[] = ",\"crc32c\":";

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void write_shards(JsonWriter *w, const char *key, const ShardSet *set) {
    json_begin_array(w, key);
    for (int i = 0; i < set->n_shards; i++) {
        json_begin_object(w, NULL);
        json_string(w, "name", base_name(set->shards[i].path));
        json_int(w, "tokens", set->shards[i].n_tokens);
        json_int(w, "fingerprint", set->shards[i].fingerprint);
        json_end_object(w);
    }
    json_end_array(w);
}

char *state_to_text(size_t *size, const RunState *state, const FileSum sums[CHECKPOINT_FILES],
                    const Datasets *data) {
    JsonWriter w = {0};
    json_begin_object(&w, NULL);
    json_int(&w, "version", CHECKPOINT_VERSION);
    json_int(&w, "step", state->step);
    json_int(&w, "data_position", state->data_position);
    json_bool(&w, "reported", state->reported);
    json_double(&w, "applied", state->applied);
    json_double(&w, "loss_sum", state->loss_sum);
    json_double(&w, "loss_weight", state->loss_weight);
    json_int(&w, "skipped", state->skipped);
    json_int(&w, "skipped_in_row", state->skipped_in_row);
    json_double(&w, "elapsed_s", state->elapsed_s);
    json_double(&w, "val_loss", state->val_loss);
    if (data->vocab) json_int(&w, "vocab", vocab_fingerprint(data->vocab));
    for (int f = 0; f < CHECKPOINT_FILES; f++) {
        json_begin_object(&w, checkpoint_file_name((CheckpointFile)f));
        json_int(&w, "size", sums[f].size);
        json_int(&w, "crc32c", sums[f].crc);
        json_end_object(&w);
    }
    write_shards(&w, "train_data", &data->train);
    write_shards(&w, "val_data", &data->val);
    json_end_object(&w);

    // Replaces the last brace by the checksum of all text before it.
    size_t body = w.size - 1;
    char *text = malloc(body + 64);
    ASSERT(text && w.text[body] == '}');
    memcpy(text, w.text, body);
    *size = body + (size_t)snprintf(text + body, 64, "%s%" PRIu32 "}\n", checksum_key, crc32c(0, text, body));
    json_writer_free(&w);
    return text;
}

// The checksum field must end the text, to the last byte.
static bool check_own_sum(const char *text, size_t size, Error *err) {
    size_t key = strlen(checksum_key), room = key + 12; // ten digits, a brace and a newline
    for (size_t at = size > room ? size - room : 0; at + key < size; at++) {
        if (memcmp(text + at, checksum_key, key) != 0) continue;
        char end[64];
        int n = snprintf(end, sizeof end, "%s%" PRIu32 "}\n", checksum_key, crc32c(0, text, at));
        if (size - at == (size_t)n && memcmp(text + at, end, (size_t)n) == 0) return true;
        return error_set(err, "its checksum does not match");
    }
    return error_set(err, "it is truncated");
}

static bool get_sum(FileSum *sum, const Json *json, const char *key, Error *err) {
    int64_t crc;
    const Json *entry = json_get(json, key);
    if (!entry) return error_set(err, "'%s' is missing", key);
    if (!json_get_int(&sum->size, entry, "size", err) || !json_get_int(&crc, entry, "crc32c", err)) return false;
    sum->crc = (uint32_t)crc;
    return true;
}

static bool get_bool(bool *value, const Json *json, const char *key, Error *err) {
    const Json *entry = json_get(json, key);
    if (!entry || entry->kind != JSON_BOOL) return error_set(err, "'%s' is missing", key);
    *value = entry->boolean;
    return true;
}

// Checkpoints written before --align-documents existed have no data_position.
static bool get_data_position(int64_t *position, const Json *json, Error *err) {
    *position = 0;
    if (!json_get(json, "data_position")) return true;
    return json_get_int(position, json, "data_position", err) &&
           (*position >= 0 || error_set(err, "'data_position' is negative"));
}

// Optional: older checkpoints have no fingerprint of the vocabulary.
static bool get_vocab(uint32_t *vocab, const Json *json, Error *err) {
    int64_t value = 0;
    if (json_get(json, "vocab") && !json_get_int(&value, json, "vocab", err)) return false;
    *vocab = (uint32_t)value;
    return true;
}

static bool get_state(RunState *s, FileSum sums[CHECKPOINT_FILES], const Json *json, Error *err) {
    int64_t version;
    if (!json_get_int(&version, json, "version", err)) return false;
    if (version != CHECKPOINT_VERSION)
        return error_set(err, "it has version %" PRId64 "; this program reads version %d", version,
                         CHECKPOINT_VERSION);
    const Json *val_loss = json_get(json, "val_loss");
    s->val_loss = val_loss && val_loss->kind == JSON_NUMBER ? val_loss->number : NAN;
    for (int f = 0; f < CHECKPOINT_FILES; f++)
        if (!get_sum(&sums[f], json, checkpoint_file_name((CheckpointFile)f), err)) return false;
    bool ok = json_get_int(&s->step, json, "step", err) && get_data_position(&s->data_position, json, err) &&
              get_vocab(&s->vocab, json, err) && get_bool(&s->reported, json, "reported", err) &&
              json_get_double(&s->applied, json, "applied", err) &&
              json_get_double(&s->loss_sum, json, "loss_sum", err) &&
              json_get_double(&s->loss_weight, json, "loss_weight", err) &&
              json_get_int(&s->skipped, json, "skipped", err) &&
              json_get_int(&s->skipped_in_row, json, "skipped_in_row", err) &&
              json_get_double(&s->elapsed_s, json, "elapsed_s", err);
    if (!ok) return false;
    if (s->step < 0 || s->skipped < 0 || s->skipped_in_row < 0 || !(s->applied >= 0) || !(s->elapsed_s >= 0) ||
        !isfinite(s->loss_sum) || !(s->loss_weight >= 0))
        return error_set(err, "a value is out of range: the file was not written by this program");
    return true;
}

bool state_from_file(RunState *state, FileSum sums[CHECKPOINT_FILES], Json **json, const char *path, Error *err) {
    size_t size;
    *state = (RunState){0};
    *json = NULL;
    char *text = file_read_whole(&size, path, 16 << 20, err);
    if (!text) return false;
    bool ok = check_own_sum(text, size, err) && (*json = json_parse(text, size, err)) != NULL &&
              get_state(state, sums, *json, err);
    free(text);
    if (ok) return true;
    json_free(*json);
    *json = NULL;
    return error_prefix(err, "%s", path);
}

static bool check_shards(const Json *json, const char *key, const ShardSet *set, const char *path, Error *err) {
    const Json *list = json_get(json, key);
    const char *option = strcmp(key, "train_data") == 0 ? "--train-data" : "--val-data";
    if (!list || list->kind != JSON_ARRAY) return error_set(err, "%s: '%s' is missing", path, key);
    if ((size_t)set->n_shards != list->count)
        return error_set(err, "%s matches %d shards, but the run was made with %zu; bring back the same files",
                         option, set->n_shards, list->count);
    const Json *entry = list->first;
    for (int i = 0; i < set->n_shards; i++, entry = entry->next) {
        const Shard *shard = &set->shards[i];
        const char *name;
        int64_t tokens, fingerprint;
        if (!json_get_string(&name, entry, "name", err) || !json_get_int(&tokens, entry, "tokens", err) ||
            !json_get_int(&fingerprint, entry, "fingerprint", err))
            return error_prefix(err, "%s", path);
        if (strcmp(name, base_name(shard->path)) != 0)
            return error_set(err, "%s: shard %d is %s, but the run was made with %s in its place; bring it back",
                             option, i + 1, shard->path, name);
        if (tokens != shard->n_tokens || fingerprint != shard->fingerprint)
            return error_set(err,
                             "%s: %s is not the file that the run was made with (it has %" PRId64
                             " tokens, then %" PRId64 "); bring that one back",
                             option, shard->path, shard->n_tokens, tokens);
    }
    return true;
}

bool state_check_data(const Json *json, const Datasets *data, const char *path, Error *err) {
    uint32_t vocab;
    if (!get_vocab(&vocab, json, err)) return error_prefix(err, "%s", path);
    if (vocab && data->vocab && vocab != vocab_fingerprint(data->vocab))
        return error_set(
            err, "--vocab is not the vocabulary that the run was trained with: restore its file, or name it");
    return check_shards(json, "train_data", &data->train, path, err) &&
           check_shards(json, "val_data", &data->val, path, err);
}

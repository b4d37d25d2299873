// Reads the weights of a Hugging Face directory into a model.
#include "run/hf/arch.h"

#include "base/file.h"
#include "base/safetensors.h"
#include "base/path.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_INDEX_BYTES = 1 << 27, MAX_SHARDS = 4096 };

// The open safetensors files of a directory.
typedef struct {
    Safetensors *files;
    char (*names)[256];
    int n;
} Shards;

static void shards_close(Shards *s) {
    for (int i = 0; i < s->n; i++) safetensors_close(&s->files[i]);
    free(s->files);
    free(s->names);
    *s = (Shards){0};
}

static const SafeTensor *shards_find(const Safetensors **file, const Shards *s, const char *name) {
    for (int i = 0; i < s->n; i++) {
        const SafeTensor *t = safetensors_find(&s->files[i], name);
        *file = &s->files[i];
        if (t) return t;
    }
    return NULL;
}

// Opens another file. Errors: a tensor that an earlier file has too.
static bool shards_add(Shards *s, const char *dir, const char *name, Error *err) {
    char path[PATH_BYTES];
    if (s->n == MAX_SHARDS) return error_set(err, "more than %d files", MAX_SHARDS);
    s->files = realloc(s->files, ((size_t)s->n + 1) * sizeof *s->files);
    s->names = realloc(s->names, ((size_t)s->n + 1) * sizeof *s->names);
    ASSERT(s->files && s->names);
    path_join(path, dir, name);
    Safetensors file;
    if (!safetensors_open(&file, path, err)) return false;
    const char *duplicate = NULL;
    const Safetensors *earlier;
    for (int i = 0; i < file.n_tensors && !duplicate; i++)
        if (shards_find(&earlier, s, file.tensors[i].name)) duplicate = file.tensors[i].name;
    if (duplicate) error_set(err, "%s: tensor %s is in an earlier file too", path, duplicate);
    snprintf(s->names[s->n], sizeof *s->names, "%s", name);
    s->files[s->n++] = file;
    return !duplicate;
}

static bool has_shard(const Shards *s, const char *name) {
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->names[i], name) == 0) return true;
    return false;
}

// Opens the files listed in the index, which maps tensors to files. File names that leave the directory are rejected.
static bool open_indexed(Shards *s, const char *dir, const Json *index, Error *err) {
    const Json *map = json_get(index, "weight_map");
    if (!map || map->kind != JSON_OBJECT) return error_set(err, "\"weight_map\" is missing or not an object");
    for (const Json *e = map->first; e; e = e->next) {
        if (e->kind != JSON_STRING || e->length == 0 || e->length > 200 || strlen(e->string) != e->length ||
            e->string[0] == '.' || strchr(e->string, '/'))
            return error_set(err, "the file of tensor %.100s is not a valid file name", e->key);
        if (!has_shard(s, e->string) && !shards_add(s, dir, e->string, err)) return false;
    }
    for (const Json *e = map->first; e; e = e->next) {
        const Safetensors *file;
        if (!shards_find(&file, s, e->key) || strcmp(s->names[file - s->files], e->string) != 0)
            return error_set(err, "tensor %.100s is not in %s, as the index says", e->key, e->string);
    }
    return true;
}

static bool shards_open(Shards *s, const char *dir, Error *err) {
    char path[PATH_BYTES];
    *s = (Shards){0};
    path_join(path, dir, "model.safetensors");
    if (access(path, F_OK) == 0) return shards_add(s, dir, "model.safetensors", err);
    path_join(path, dir, "model.safetensors.index.json");
    if (access(path, F_OK) == 0) {
        size_t size;
        char *text = file_read_whole(&size, path, MAX_INDEX_BYTES, err);
        Json *index = text ? json_parse(text, size, err) : NULL;
        bool ok = index && open_indexed(s, dir, index, err);
        if (text && !ok) error_prefix(err, "%s", path);
        json_free(index);
        free(text);
        return ok;
    }
    path_join(path, dir, "pytorch_model.bin");
    if (access(path, F_OK) == 0)
        return error_set(err,
                         "%s is a pickle, which can run code when loaded; save the model again with "
                         "save_pretrained(DIR, safe_serialization=True)",
                         path);
    return error_set(err, "%s has no model.safetensors", dir);
}

// The tensor of a slice, and its file.
typedef struct {
    const Safetensors *file;
    const SafeTensor *tensor;
} Found;

static void format_shape(char text[64], int n_dims, const int64_t *shape) {
    int used = snprintf(text, 64, "(");
    for (int d = 0; d < n_dims && used < 60; d++)
        used += snprintf(text + used, 64 - (size_t)used, "%s%" PRId64, d ? ", " : "", shape[d]);
    if (used < 63) snprintf(text + used, 64 - (size_t)used, ")");
}

// Finds the tensor of a slice and checks its type and shape. `skip`: length of the name prefix that the files lack.
static bool find_slice(Found *found, const Shards *s, const HfSlice *slice, size_t skip, Error *err) {
    const char *name = slice->name + (slice->param->kind == PARAM_HEAD_WEIGHT ? 0 : skip);
    int64_t shape[2];
    int n_dims = hf_slice_shape(shape, slice);
    found->tensor = shards_find(&found->file, s, name);
    if (!found->tensor) return error_set(err, "tensor %s is missing", name);
    const SafeTensor *t = found->tensor;
    if (!float_type_is(t->type))
        return error_set(err, "tensor %s has type %s, which is not a floating-point type", name,
                         type_name(t->type));
    bool same = t->n_dims == n_dims;
    for (int d = 0; same && d < n_dims; d++) same = t->shape[d] == shape[d];
    if (same) return true;
    char have[64], need[64];
    format_shape(have, t->n_dims, t->shape);
    format_shape(need, n_dims, shape);
    return error_set(err, "tensor %s is %s, but the model of config.json needs %s", name, have, need);
}

// A stored head of a model with tied weights must equal the embedding.
static bool check_tied(const Found *embedding, const Safetensors *file, const SafeTensor *head, Error *err) {
    enum { CHUNK = 512 };
    const SafeTensor *t = embedding->tensor;
    double a[CHUNK], b[CHUNK];
    bool same = float_type_is(head->type) && head->elements == t->elements;
    for (int64_t at = 0; same && at < t->elements; at += CHUNK) {
        int64_t n = t->elements - at < CHUNK ? t->elements - at : CHUNK;
        if (!safetensors_read(a, embedding->file, t, at, n, err) || !safetensors_read(b, file, head, at, n, err))
            return false;
        same = memcmp(a, b, (size_t)n * sizeof *a) == 0;
    }
    return same || error_set(err, "tensor lm_head.weight differs from the embedding, but config.json ties the two "
                                  "(\"tie_word_embeddings\": true)");
}

static bool is_ignored(const HfArch *arch, const char *name) {
    for (int i = 0; arch->ignored[i]; i++) {
        size_t n = strlen(name), end = strlen(arch->ignored[i]);
        if (n >= end && strcmp(name + n - end, arch->ignored[i]) == 0) return true;
    }
    return false;
}

// Checks the tensors that no slice uses: buffers are ignored, others are errors.
static bool check_rest(const HfArch *arch, const Shards *s, const Found *found, int n, bool tied, Error *err) {
    for (int i = 0; i < s->n; i++)
        for (int j = 0; j < s->files[i].n_tensors; j++) {
            const SafeTensor *t = &s->files[i].tensors[j];
            bool used = is_ignored(arch, t->name);
            for (int k = 0; !used && k < n; k++) used = found[k].tensor == t;
            if (!used && tied && strcmp(t->name, "lm_head.weight") == 0) {
                if (!check_tied(&found[0], &s->files[i], t, err)) return false;
                used = true;
            }
            if (!used) return error_set(err, "tensor %s does not belong to %s", t->name, arch->name);
        }
    return true;
}

static bool find_all(Found *found, const HfArch *arch, const Shards *s, const HfSlice *slices, int n, bool tied,
                     Error *err) {
    const Safetensors *file;
    ASSERT(slices[0].param->kind == PARAM_TOKEN_EMBEDDING); // check_rest compares a tied head with it
    size_t skip = shards_find(&file, s, slices[0].name) ? 0 : strlen(arch->prefix);
    for (int i = 0; i < n; i++)
        if (!find_slice(&found[i], s, &slices[i], skip, err)) return false;
    return check_rest(arch, s, found, n, tied, err);
}

// Reads a tensor into its slice of the parameter.
static bool read_slice(double *values, const HfSlice *slice, const Found *found, double *scratch, Error *err) {
    int64_t n = slice->rows * slice->cols;
    double *read = slice->transposed ? scratch : values + slice->first;
    if (!safetensors_read(read, found->file, found->tensor, 0, n, err)) return false;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(read[i]))
            return error_set(err, "tensor %s has a value that is not finite (element %" PRId64 ")",
                             found->tensor->name, i);
    if (!slice->transposed) return true;
    for (int64_t r = 0; r < slice->rows; r++)
        for (int64_t c = 0; c < slice->cols; c++)
            values[slice->first + r * slice->cols + c] = scratch[c * slice->rows + r];
    return true;
}

static bool load_all(Model *model, Stream *stream, const HfSlice *slices, const Found *found, int n, Error *err) {
    int64_t largest = 0;
    for (int i = 0; i < n; i++)
        if (param_elements(slices[i].param) > largest) largest = param_elements(slices[i].param);
    double *values = malloc((size_t)largest * sizeof *values), *scratch = malloc((size_t)largest * sizeof *values);
    bool ok = (values && scratch) || error_set(err, "out of memory for the largest tensor");
    for (int i = 0; i < n && ok;) {
        const Param *p = slices[i].param;
        memset(values, 0, (size_t)param_elements(p) * sizeof *values); // for the vocabulary padding
        for (; i < n && ok && slices[i].param == p; i++)
            ok = read_slice(values, &slices[i], &found[i], scratch, err);
        if (!ok) break;
        float_type_write(scratch, model->acc_type, values, param_elements(p));
        model_set_param(model, stream, p, scratch);
    }
    free(values);
    free(scratch);
    return ok;
}

static bool read_weights(Model *model, Stream *stream, const HfArch *arch, const char *dir, Error *err) {
    Shards shards;
    HfSlice *slices;
    int n = hf_slices(&slices, arch, &model->table);
    Found *found = calloc((size_t)n, sizeof *found);
    ASSERT(found);
    bool ok = shards_open(&shards, dir, err);
    if (ok)
        ok = (find_all(found, arch, &shards, slices, n, model->config.tied_head, err) &&
              load_all(model, stream, slices, found, n, err)) ||
             error_prefix(err, "%s", dir);
    shards_close(&shards);
    free(found);
    free(slices);
    return ok;
}

bool hf_read_weights(Model *model, Stream *stream, const char *dir, Error *err) {
    Json *json;
    const HfArch *arch;
    if (!hf_config_open(&json, &arch, dir, err)) return false;
    json_free(json);
    return hf_arch_fits(arch, &model->config, err) && read_weights(model, stream, arch, dir, err);
}

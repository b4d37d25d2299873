// Exports a model as a Hugging Face transformers directory.
#include "run/hf/arch.h"

#include "base/file.h"
#include "base/path.h"
#include "base/safetensors.h"
#include "run/checkpoint/tensors.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// The architecture that matches the model's positions and biases, else its positions alone; NULL if none does.
static const HfArch *nearest_arch(const ModelConfig *c) {
    const HfArch *near = NULL;
    for (int i = hf_n_archs - 1; i >= 0; i--) {
        if (hf_archs[i].fixed.positions != c->positions) continue;
        if (!near || near->fixed.biases != c->biases) near = &hf_archs[i];
    }
    return near;
}

static bool choose_arch(const HfArch **arch, const ModelConfig *c, Error *err) {
    bool ok = false;
    *arch = nearest_arch(c);
    if (*arch == NULL) error_set(err, "its --positions fit no architecture");
    else if (c->n_head * c->head_dim != c->d_model && !(*arch)->has_head_dim)
        error_set(err, "%s: --head-dim %d does not fit; it has d-model / n-head", (*arch)->name, c->head_dim);
    else ok = hf_arch_fits(*arch, c, err);
    if (ok) return true;
    char what[256], all[512] = "";
    snprintf(what, sizeof what, "%.250s", err->text);
    for (int i = 0; i < hf_n_archs; i++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s (%s)", i ? ", " : "", hf_archs[i].name, hf_archs[i].summary);
    }
    return error_set(err, "this model cannot be exported: %s; supported are %s", what, all);
}

// ------------------------------------------------------------------------------------------------------- weights

// Copies the elements of a slice, transposed if needed; `values` are those of the whole parameter.
static void collect(double *out, const HfSlice *slice, const double *values) {
    const double *from = values + slice->first;
    if (!slice->transposed) {
        memcpy(out, from, (size_t)(slice->rows * slice->cols) * sizeof *out);
        return;
    }
    for (int64_t c = 0; c < slice->cols; c++)
        for (int64_t r = 0; r < slice->rows; r++) out[c * slice->rows + r] = from[r * slice->cols + c];
}

// Reads a whole tensor as double.
static void read_values(double *values, void *scratch, const CheckpointTensor *t, Stream *stream) {
    device_copy(stream, scratch, t->data, (size_t)t->bytes);
    stream_synchronize(stream);
    float_type_read(values, t->type, scratch, t->bytes / (int64_t)type_size(t->type));
}

static bool write_slices(SafetensorsWriter *w, const HfSlice *slices, int n, const Model *model, Stream *stream,
                         Type type, Error *err) {
    CheckpointTensors weights = checkpoint_tensors(model, NULL); // in parameter-table order
    int64_t largest = 0;
    for (int i = 0; i < n; i++)
        if (param_elements(slices[i].param) > largest) largest = param_elements(slices[i].param);
    double *values = malloc((size_t)largest * sizeof *values), *scratch = malloc((size_t)largest * sizeof *values);
    bool ok = (values && scratch) || error_set(err, "out of memory for the largest tensor");
    for (int i = 0; i < n && ok; i++) {
        const HfSlice *slice = &slices[i];
        int64_t elements = slice->rows * slice->cols;
        if (i == 0 || slice->param != slices[i - 1].param)
            read_values(values, scratch, &weights.items[slice->param - model->table.params], stream);
        collect(scratch, slice, values);
        float_type_write(scratch, type, scratch, elements); // in place: the output type is narrower
        ok = safetensors_write_data(w, scratch, elements * (int64_t)type_size(type), err);
    }
    free(values);
    free(scratch);
    checkpoint_tensors_free(&weights);
    return ok;
}

static bool write_weights(const char *path, const HfArch *arch, const Model *model, Stream *stream, Type type,
                          Error *err) {
    HfSlice *slices;
    SafetensorsWriter w;
    uint32_t crc;
    int n = hf_slices(&slices, arch, &model->table);
    SafeTensor *tensors = calloc((size_t)n, sizeof *tensors);
    ASSERT(tensors);
    for (int i = 0; i < n; i++) {
        memcpy(tensors[i].name, slices[i].name, sizeof slices[i].name);
        tensors[i].type = type;
        tensors[i].n_dims = hf_slice_shape(tensors[i].shape, &slices[i]);
    }
    bool ok = safetensors_write_begin(&w, path, tensors, n, err) &&
              write_slices(&w, slices, n, model, stream, type, err) && safetensors_write_finish(&w, &crc, err);
    free(tensors);
    free(slices);
    return ok;
}

// ----------------------------------------------------------------------------------------------------- directory

static bool write_files(const char *dir, const HfArch *arch, const Model *model, Stream *stream,
                        const HfExport *how, Error *err) {
    char path[PATH_BYTES];
    size_t size;
    path_join(path, dir, "model.safetensors");
    if (!write_weights(path, arch, model, stream, how->type, err)) return false;
    char *text = hf_config_text(&size, arch, &model->config, how);
    if (!hf_write_text(dir, "config.json", text, size, err)) return false;
    text = hf_generation_text(&size, how);
    const Bpe *bpe = vocab_bpe(how->vocab);
    return hf_write_text(dir, "generation_config.json", text, size, err) &&
           (!bpe || hf_write_tokenizer(dir, bpe, model->config.context, err));
}

// Returns true for the names that an export consists of: a directory with no others may be replaced.
static bool is_exported(const char *name) {
    static const char *const names[] = {".",
                                        "..",
                                        "model.safetensors",
                                        "config.json",
                                        "generation_config.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

// Checks that the target does not exist, or is an earlier export that may be replaced.
static bool check_target(bool *exists, const char *dir, bool overwrite, Error *err) {
    struct stat st;
    *exists = lstat(dir, &st) == 0;
    if (!*exists) return errno == ENOENT || error_set(err, "--out %s: %s", dir, strerror(errno));
    if (!overwrite) return error_set(err, "--out %s exists; --overwrite replaces an earlier export", dir);
    DIR *folder = S_ISDIR(st.st_mode) && hf_is_directory(dir) ? opendir(dir) : NULL;
    if (!folder)
        return error_set(
            err, "--out %s is not an earlier export (a directory with config.json), so it is not replaced", dir);
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(folder));)
        if (!is_exported(e->d_name))
            ok = error_set(err, "--out %s holds other files (%s), so it is not replaced", dir, e->d_name);
    closedir(folder);
    return ok;
}

// Renames `made` to `dir`. An existing directory is first renamed away as a whole, and removed last.
static bool move_into_place(const char *made, const char *dir, bool exists, Error *err) {
    char old[PATH_BYTES + 8];
    snprintf(old, sizeof old, "%s.old", made);
    if (exists && rename(dir, old) != 0) return error_set(err, "cannot rename %s: %s", dir, strerror(errno));
    if (rename(made, dir) != 0) {
        error_set(err, "cannot rename %s to %s: %s", made, dir, strerror(errno));
        if (exists) rename(old, dir);
        return false;
    }
    if (!file_sync_parent(dir, err)) return false;
    return !exists || file_remove_folder(old, err);
}

bool hf_export(const char **architecture, const char *dir, const Model *model, Stream *stream, const HfExport *how,
               Error *err) {
    char made[PATH_BYTES], target[PATH_BYTES - 64];
    const HfArch *arch;
    bool exists;
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/') length--;
    if (length >= sizeof target) return error_set(err, "path too long: %s", dir);
    memcpy(target, dir, length);
    target[length] = 0;
    snprintf(made, sizeof made, "%s.tmp_%d", target, (int)getpid());
    if (!choose_arch(&arch, &model->config, err) || !check_target(&exists, target, how->overwrite, err))
        return false;
    *architecture = arch->name;
    if (!file_make_dirs(made, err)) return false;
    if (write_files(made, arch, model, stream, how, err) && move_into_place(made, target, exists, err)) return true;
    Error ignored;
    file_remove_folder(made, &ignored);
    return false;
}

#include "data/shard.h"

#include "base/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "shards are read and written in host byte order");

enum { HEADER_INTS = SHARD_HEADER_BYTES / 4, PAGE = 4096, FINGERPRINT_PAGES = 64 };

// Size of the file in bytes, including the header.
static int64_t shard_bytes(const Shard *shard) {
    return SHARD_HEADER_BYTES + shard->token_bytes * shard->n_tokens;
}

// Reports what a file without a valid magic number appears to be. `head` holds its first `size` bytes.
static bool refuse_magic(const char *path, const unsigned char *head, size_t size, Error *err) {
    int32_t magic = 0;
    if (size >= sizeof magic) memcpy(&magic, head, sizeof magic);
    size_t n_text = 0, n_gpt2 = 0;
    for (size_t i = 0; i < size; i++) n_text += (head[i] >= ' ' && head[i] < 127) || (head[i] >= 8 && head[i] < 14);
    for (size_t i = 0; i + 1 < size; i += 2) n_gpt2 += (head[i] | head[i + 1] << 8) <= 50256;
    if (n_text >= size - size / 16)
        return error_set(
            err,
            "%s is text, not a token shard: convert text to shards with `train tokenize`, or if it should be a "
            "shard, download it again",
            path);
    if (n_gpt2 == size / 2)
        return error_set(err,
                         "%s has no shard header; it looks like a headerless nanoGPT file: prepend 256 int32 (%d, "
                         "%d, number of tokens, zeros)",
                         path, SHARD_MAGIC, SHARD_VERSION);
    return error_set(err, "%s is not a token shard: it begins with %d instead of the magic number %d", path, magic,
                     SHARD_MAGIC);
}

static bool check_header(Shard *shard, const unsigned char *head, int64_t size, Error *err) {
    const char *path = shard->path;
    int32_t header[HEADER_INTS] = {0};
    size_t n_head = size < SHARD_HEADER_BYTES ? (size_t)size : SHARD_HEADER_BYTES;
    memcpy(header, head, n_head);
    bool wide = header[0] == SHARD_WIDE_MAGIC;
    int version = wide ? SHARD_WIDE_VERSION : SHARD_VERSION;
    if (header[0] != SHARD_MAGIC && !wide) return refuse_magic(path, head, n_head, err);
    if (size < SHARD_HEADER_BYTES)
        return error_set(err, "%s has %lld bytes, less than the header of a token shard (%d): download it again",
                         path, (long long)size, SHARD_HEADER_BYTES);
    if (header[1] != version)
        return error_set(err, "%s is a token shard of version %d; only version %d is supported", path, header[1],
                         version);
    if (header[2] <= 0)
        return error_set(err, "%s contains no tokens (its header says %d): remove it", path, header[2]);
    shard->n_tokens = header[2];
    shard->token_bytes = wide ? 4 : 2;
    shard->vocab = header[3] == SHARD_VOCAB_TAG ? (uint32_t)header[4] : 0;
    int64_t expected = shard_bytes(shard);
    if (size != expected)
        return error_set(err,
                         "%s has %lld bytes where its header's %lld tokens need %lld: it is truncated or "
                         "incomplete; download it again",
                         path, (long long)size, (long long)shard->n_tokens, (long long)expected);
    return true;
}

static int64_t page_offset(int64_t size, int i) {
    return SHARD_HEADER_BYTES + (size - SHARD_HEADER_BYTES - PAGE) * i / (FINGERPRINT_PAGES - 1);
}

static bool compute_fingerprint(Shard *shard, int fd, const unsigned char *head, int64_t size, Error *err) {
    unsigned char page[PAGE];
    int64_t body = size - SHARD_HEADER_BYTES;
    int n_pages = body < PAGE ? 1 : FINGERPRINT_PAGES;
    size_t n = body < PAGE ? (size_t)body : PAGE;
    uint32_t crc = crc32c(crc32c(0, head, SHARD_HEADER_BYTES), &size, sizeof size);
    // Requests all pages at once: one by one they would take minutes for many shards on a slow disk.
    for (int i = 0; i < n_pages; i++) (void)posix_fadvise(fd, page_offset(size, i), (off_t)n, POSIX_FADV_WILLNEED);
    for (int i = 0; i < n_pages; i++) {
        if (!file_read_at(page, fd, shard->path, page_offset(size, i), n, err)) return false;
        crc = crc32c(crc, page, n);
    }
    shard->fingerprint = crc;
    return true;
}

static ShardVersion shard_version(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) return (ShardVersion){0};
    return (ShardVersion){(int64_t)st.st_dev, (int64_t)st.st_ino, st.st_ctim.tv_sec, st.st_ctim.tv_nsec};
}

// Checks that the file is still the one that shard_open read.
static bool check_unchanged(const Shard *shard, int fd, int64_t size, Error *err) {
    ShardVersion now = shard_version(fd);
    // Compares the size too: two changes within one tick of the file system's clock have the same time stamp.
    if (size == shard_bytes(shard) && memcmp(&now, &shard->version, sizeof now) == 0) return true;
    Shard fresh = {.path = shard->path};
    unsigned char head[SHARD_HEADER_BYTES];
    bool ok = size == shard_bytes(shard) && file_read_at(head, fd, shard->path, 0, sizeof head, err) &&
              compute_fingerprint(&fresh, fd, head, size, err) && fresh.fingerprint == shard->fingerprint;
    return ok || error_set(err,
                           "%s changed while it was in use: it is not the file that the run began with (it now has "
                           "%lld bytes); restore the original",
                           shard->path, (long long)size);
}

static bool shard_open(Shard *shard, const char *path, Error *err) {
    int64_t size;
    int fd = file_open_read(&size, path, err);
    if (fd < 0) return false;
    shard->path = strdup(path);
    shard->version = shard_version(fd); // before reading, so that a later change is detected
    unsigned char head[SHARD_HEADER_BYTES];
    bool ok = shard->path || error_set(err, "out of memory");
    if (ok && size == 0) ok = error_set(err, "%s is empty: remove it or download it again", path);
    ok = ok &&
         file_read_at(head, fd, path, 0, size < SHARD_HEADER_BYTES ? (size_t)size : SHARD_HEADER_BYTES, err) &&
         check_header(shard, head, size, err) && compute_fingerprint(shard, fd, head, size, err);
    close(fd);
    return ok;
}

// Finds the files of one pattern, or of several with commas between them, in that order.
static bool find_files(glob_t *found, const char *patterns, Error *err) {
    char *list = strdup(patterns), *rest = list, *pattern;
    ASSERT(list);
    int status = 0, flags = GLOB_TILDE;
    while (status == 0 && (pattern = strsep(&rest, ",")) != NULL) {
        if (!*pattern) continue;
        // An existing file is taken literally, so that brackets in its name are not a pattern.
        status =
            glob(pattern, access(pattern, F_OK) == 0 ? flags | GLOB_NOCHECK | GLOB_NOESCAPE : flags, NULL, found);
        if (status == GLOB_NOMATCH)
            error_set(err, "no file matches %s: check the path, and quote patterns", pattern);
        else if (status != 0) error_set(err, "cannot search for %s: %s", pattern, strerror(errno));
        flags |= GLOB_APPEND;
    }
    free(list);
    return status == 0;
}

static bool check_same_vocab(const ShardSet *set, const Shard *shard, Error *err) {
    if (!set->vocab || !shard->vocab || set->vocab == shard->vocab) return true;
    return error_set(err, "%s was tokenized with another vocabulary than %s: tokens of one vocabulary are needed",
                     shard->path, set->shards[0].path);
}

bool shard_set_open(ShardSet *set, const char *pattern, Error *err) {
    *set = (ShardSet){0};
    char *plain[1] = {(char *)pattern};
    glob_t found = {.gl_pathc = 1, .gl_pathv = plain};
    bool is_file = access(pattern, F_OK) == 0;
    if (!is_file) {
        found = (glob_t){0};
        if (!find_files(&found, pattern, err)) {
            globfree(&found);
            return false;
        }
    }
    set->shards = calloc(found.gl_pathc, sizeof *set->shards);
    bool ok = set->shards || error_set(err, "out of memory");
    for (size_t i = 0; ok && i < found.gl_pathc; i++) {
        Shard *shard = &set->shards[set->n_shards++];
        ok = shard_open(shard, found.gl_pathv[i], err) && check_same_vocab(set, shard, err);
        if (!set->vocab) set->vocab = shard->vocab;
        shard->first = set->total_tokens;
        set->total_tokens += shard->n_tokens;
    }
    if (!is_file) globfree(&found);
    if (!ok) shard_set_close(set);
    return ok;
}

void shard_set_close(ShardSet *set) {
    for (int i = 0; i < set->n_shards; i++) free(set->shards[i].path);
    free(set->shards);
    *set = (ShardSet){0};
}

const Shard *shard_set_find(const ShardSet *set, int64_t index) {
    ASSERT(set->n_shards > 0 && index >= 0);
    index %= set->total_tokens;
    int low = 0, high = set->n_shards; // shards[low].first <= index < shards[high].first
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (set->shards[middle].first <= index) low = middle;
        else high = middle;
    }
    return &set->shards[low];
}

// Reads tokens within one shard; 16-bit tokens are widened in place, from the last to the first.
static bool read_within(uint32_t *tokens, const Shard *shard, int64_t offset, int64_t n, Error *err) {
    int64_t size;
    int fd = file_open_read(&size, shard->path, err);
    if (fd < 0) return false;
    bool ok = check_unchanged(shard, fd, size, err) &&
              file_read_at(tokens, fd, shard->path, SHARD_HEADER_BYTES + shard->token_bytes * offset,
                           (size_t)(shard->token_bytes * n), err);
    close(fd);
    for (int64_t i = n - 1; i >= 0 && ok && shard->token_bytes == 2; i--) {
        uint16_t token;
        memcpy(&token, (const char *)tokens + 2 * i, sizeof token);
        tokens[i] = token;
    }
    return ok;
}

bool shard_set_read(uint32_t *tokens, const ShardSet *set, int64_t index, int64_t n, Error *err) {
    while (n > 0) {
        index %= set->total_tokens;
        const Shard *shard = shard_set_find(set, index);
        int64_t offset = index - shard->first, left = shard->n_tokens - offset, part = n < left ? n : left;
        if (!read_within(tokens, shard, offset, part, err)) return false;
        tokens += part;
        index += part;
        n -= part;
    }
    return true;
}

bool shard_writer_open(ShardWriter *writer, const char *path, uint32_t vocab, Error *err) {
    static const char no_header[SHARD_HEADER_BYTES];
    *writer = (ShardWriter){.vocab = vocab};
    if (!atomic_file_open(&writer->file, path, err)) return false;
    if (file_write(writer->file.fd, path, no_header, sizeof no_header, err)) return true;
    shard_writer_discard(writer);
    return false;
}

bool shard_writer_add(ShardWriter *writer, const uint16_t *tokens, int64_t n, Error *err) {
    ASSERT(n <= INT32_MAX - writer->n_tokens);
    writer->n_tokens += n;
    return file_write(writer->file.fd, writer->file.path, tokens, (size_t)n * sizeof *tokens, err);
}

bool shard_writer_close(ShardWriter *writer, Error *err) {
    ASSERT(writer->n_tokens > 0);
    int32_t header[HEADER_INTS] = {SHARD_MAGIC, SHARD_VERSION, (int32_t)writer->n_tokens};
    if (writer->vocab) header[3] = SHARD_VOCAB_TAG, header[4] = (int32_t)writer->vocab;
    const AtomicFile *file = &writer->file;
    bool ok =
        lseek(file->fd, 0, SEEK_SET) == 0 || error_set(err, "cannot write %s: %s", file->path, strerror(errno));
    if (ok && file_write(file->fd, file->path, header, sizeof header, err))
        return atomic_file_commit(&writer->file, err);
    shard_writer_discard(writer);
    return false;
}

void shard_writer_discard(ShardWriter *writer) {
    atomic_file_discard(&writer->file);
}

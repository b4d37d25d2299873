#include "data/tokenizer/input.h"

#include "base/file.h"
#include "base/utf8.h"
#include "data/tokenizer/json_line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { RAW_BYTES = 1 << 18, HEAD_BYTES = 1 << 16 };

// Signatures of files that are not text, `size` bytes at `offset`, and what to do with such a file.
typedef struct {
    const char *magic;
    int size, offset;
    const char *name, *advice;
} Magic;

#define PIPE_ADVICE(tool) "decompress it: " tool " FILE | train tokenize ... -"
#define UTF16_ADVICE "convert it: iconv -f UTF-16 -t UTF-8 FILE"
#define UTF32_ADVICE "convert it: iconv -f UTF-32 -t UTF-8 FILE"
#define ROWS_ADVICE                                                                                                \
    "write its text as lines of JSON, in Python: pandas.read_parquet(FILE).to_json(OUT, orient='records', "        \
    "lines=True)"
#define TAR_ADVICE "unpack it and name the files in it"
#define TEXT_ADVICE "extract its text first"
static const Magic magics[] = {
    {"\xFF\xFE\0\0", 4, 0, "UTF-32", UTF32_ADVICE},
    {"\0\0\xFE\xFF", 4, 0, "UTF-32", UTF32_ADVICE},
    {"\xFF\xFE", 2, 0, "UTF-16", UTF16_ADVICE},
    {"\xFE\xFF", 2, 0, "UTF-16", UTF16_ADVICE},
    {"PAR1", 4, 0, "a Parquet file", ROWS_ADVICE},
    {"ARROW1", 6, 0, "an Arrow file",
     "write its text as lines of JSON (datasets.Dataset.from_file(FILE).to_json(OUT))"},
    {"\xFD"
     "7zXZ",
     5, 0, "compressed by xz", PIPE_ADVICE("xzcat")},
    {"1AY&SY", 6, 4, "compressed by bzip2", PIPE_ADVICE("bzcat")},
    {"\x04\x22\x4D\x18", 4, 0, "compressed by lz4", PIPE_ADVICE("lz4cat")},
    {"PK\x03\x04", 4, 0, "a zip archive", PIPE_ADVICE("unzip -p")},
    {"7z\xBC\xAF\x27\x1C", 6, 0, "a 7z archive", PIPE_ADVICE("7z x -so")},
    {"ustar\0", 6, 257, "a tar archive", TAR_ADVICE},
    {"ustar  ", 7, 257, "a tar archive", TAR_ADVICE},
    {"%PDF-", 5, 0, "a PDF", TEXT_ADVICE},
    {"\x89PNG", 4, 0, "a PNG picture", TEXT_ADVICE},
    {"\x89HDF", 4, 0, "an HDF5 file", TEXT_ADVICE},
    {"\x93NUMPY", 6, 0, "a NumPy array", TEXT_ADVICE},
    {"SQLite format 3", 16, 0, "an SQLite database", TEXT_ADVICE},
    {"\x7F"
     "ELF",
     4, 0, "a program", TEXT_ADVICE},
    {"\x88\xD8\x34\x01", 4, 0, "a token shard", "train on it as it is: --train-data FILE"},
    {"\xA1\xD9\x34\x01", 4, 0, "a token shard", "train on it as it is: --train-data FILE"},
};

static bool fill_raw(Input *in, Error *err) {
    if (in->raw_eof || in->raw_at < in->raw_end) return true;
    ssize_t n;
    do n = read(in->fd, in->raw, RAW_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0) return error_set(err, "cannot read %s: %s", in->path, strerror(errno));
    in->raw_at = 0;
    in->raw_end = (size_t)n;
    in->read_bytes += n;
    in->raw_eof = n == 0;
    if (n == 0 && in->file_bytes >= 0 && in->read_bytes < in->file_bytes)
        return error_set(err, "%s was truncated while it was read", in->path);
    return true;
}

static bool read_plain(Input *in, char *data, size_t size, size_t *n, Error *err) {
    *n = 0;
    if (!fill_raw(in, err)) return false;
    size_t left = in->raw_end - in->raw_at;
    *n = left < size ? left : size;
    memcpy(data, in->raw + in->raw_at, *n);
    in->raw_at += *n;
    return true;
}

static bool read_compressed(Input *in, char *data, size_t size, size_t *n, Error *err) {
    for (;;) {
        if (!fill_raw(in, err)) return false;
        size_t used = in->raw_end - in->raw_at;
        *n = size;
        if (!decompress(in->decompressor, data, n, in->raw + in->raw_at, &used, err))
            return error_prefix(err, "%s", in->path);
        in->raw_at += used;
        if (*n > 0) return true;
        if (in->raw_eof && used == 0) break;
    }
    return decompressor_is_complete(in->decompressor) ||
           error_set(err, "%s ends in the middle of its compressed data: it was cut short; fetch it again",
                     in->path);
}

static bool read_stream(Input *in, char *data, size_t size, size_t *n, Error *err) {
    return (in->decompressor ? read_compressed : read_plain)(in, data, size, n, err);
}

bool input_read(Input *in, char *data, size_t size, size_t *n, Error *err) {
    if (in->head_at == in->head_end) return read_stream(in, data, size, n, err);
    *n = in->head_end - in->head_at < size ? in->head_end - in->head_at : size;
    memcpy(data, in->head + in->head_at, *n);
    in->head_at += *n;
    return true;
}

// Fills the head with the first bytes; fewer only where the stream is shorter.
static bool fill_head(Input *in, Error *err) {
    size_t n;
    do {
        if (!read_stream(in, in->head + in->head_end, HEAD_BYTES - in->head_end, &n, err)) return false;
        in->head_end += n;
    } while (n > 0 && in->head_end < HEAD_BYTES);
    return true;
}

static bool check_is_text(const Input *in, TextFormat format, Error *err) {
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        const Magic *m = &magics[i];
        if (in->head_end >= (size_t)(m->offset + m->size) &&
            memcmp(in->head + m->offset, m->magic, (size_t)m->size) == 0)
            return error_set(err, "%s is %s, not UTF-8 text: %s", in->path, m->name, m->advice);
    }
    const char *zero = format == FORMAT_TEXT ? NULL : memchr(in->head, 0, in->head_end);
    if (!zero) return true;
    return error_set(
        err,
        "%s has a zero byte at %lld: it is UTF-16 or binary; convert it, or take its bytes as they are with "
        "--format text",
        in->path, (long long)(zero - in->head));
}

static bool ends_with(const char *name, size_t size, const char *end) {
    size_t n = strlen(end);
    return size >= n && strncasecmp(name + size - n, end, n) == 0;
}

static bool is_json_name(const char *name) {
    size_t size = strlen(name);
    if (ends_with(name, size, ".gz")) size -= 3;
    else if (ends_with(name, size, ".zst")) size -= 4;
    return ends_with(name, size, ".jsonl") || ends_with(name, size, ".ndjson") || ends_with(name, size, ".json");
}

// Index in the head of the first character that is not blank; head_end if there is none.
static size_t first_character(const Input *in) {
    size_t at = in->head_at;
    while (at < in->head_end && memchr(" \t\r\n", in->head[at], 4)) at++;
    return at;
}

// Returns true if the first line that is not blank is a JSON object with a key, as far as the head shows it.
static bool first_line_is_object(const Input *in) {
    size_t at = first_character(in), key = at + 1, n = in->head_end;
    if (at == n || in->head[at] != '{') return false;
    while (key < n && memchr(" \t", in->head[key], 2)) key++;
    if (key == n || in->head[key] != '"') return false;
    const char *line = in->head + at, *newline = memchr(line, '\n', n - at);
    if (!newline && n == HEAD_BYTES) return true; // the line is longer than the head
    size_t size = newline ? (size_t)(newline - line) : n - at, text_size;
    char *copy = malloc(size), *text;
    Error ignored;
    ASSERT(copy);
    memcpy(copy, line, size);
    bool object = json_line_text(&text, &text_size, copy, size, "", &ignored) != JSON_LINE_BAD;
    free(copy);
    return object;
}

static bool open_stream(Input *in, const char *name, Error *err) {
    bool is_stdin = strcmp(name, "-") == 0;
    in->path = is_stdin ? "standard input" : name;
    in->file_bytes = -1;
    in->fd = is_stdin ? STDIN_FILENO : file_open_read(&in->file_bytes, name, err);
    if (in->fd < 0) return false;
    if (in->file_bytes == 0) return error_set(err, "%s is empty: leave it out", name);
    in->raw = malloc(RAW_BYTES);
    in->head = malloc(HEAD_BYTES);
    ASSERT(in->raw && in->head);
    if (!fill_raw(in, err)) return false;
    while (in->raw_end < 4 && !in->raw_eof) { // a pipe may give fewer bytes than the magic number has
        ssize_t n = read(in->fd, in->raw + in->raw_end, RAW_BYTES - in->raw_end);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        in->raw_end += (size_t)n;
        in->read_bytes += n;
    }
    Compression compression = compression_of(in->raw, in->raw_end);
    if (compression == COMPRESSION_NONE) return true;
    in->decompressor = decompressor_open(compression, err);
    return in->decompressor || error_prefix(err, "%s", in->path);
}

static bool tell_format(Input *in, const char *name, TextFormat format, Error *err) {
    if (!check_is_text(in, format, err)) return false;
    in->head_at = utf8_bom_size(in->head, in->head_end);
    in->is_json =
        format == FORMAT_JSONL || (format == FORMAT_AUTO && (is_json_name(name) || first_line_is_object(in)));
    size_t first = first_character(in);
    if (!in->is_json || first == in->head_end || in->head[first] != '[') return true;
    return error_set(
        err,
        "%s is one JSON array, not lines of JSON: make lines of it with jq -c '.[]' FILE, or take it as one "
        "text with --format text",
        in->path);
}

bool input_open(Input *in, const char *name, TextFormat format, Error *err) {
    *in = (Input){.fd = -1};
    if (open_stream(in, name, err) && fill_head(in, err) && tell_format(in, name, format, err)) return true;
    input_close(in);
    return false;
}

void input_close(Input *in) {
    if (in->fd > STDIN_FILENO) close(in->fd);
    decompressor_close(in->decompressor);
    free(in->raw);
    free(in->head);
    *in = (Input){.fd = -1};
}

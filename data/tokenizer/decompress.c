#include "data/tokenizer/decompress.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

// zlib's stream (zlib.h, unchanged since 1995), and what is used of its functions.
typedef struct {
    const unsigned char *next_in;
    unsigned avail_in;
    unsigned long total_in;
    unsigned char *next_out;
    unsigned avail_out;
    unsigned long total_out;
    const char *message;
    void *state, *(*allocate)(void *, unsigned, unsigned);
    void (*release)(void *, void *);
    void *opaque;
    int data_type;
    unsigned long adler, reserved;
} ZlibStream;
enum { ZLIB_OK = 0, ZLIB_STREAM_END = 1, ZLIB_BUF_ERROR = -5, ZLIB_GZIP_WINDOW = 15 + 16 };

static struct {
    const char *(*version)(void);
    int (*init)(ZlibStream *, int window, const char *version, int stream_size);
    int (*inflate)(ZlibStream *, int flush);
    int (*reset)(ZlibStream *);
    int (*end)(ZlibStream *);
} zlib;

// libzstd's buffers (zstd.h), and what is used of its functions.
typedef struct {
    void *data;
    size_t size, position;
} ZstdOut;
typedef struct {
    const void *data;
    size_t size, position;
} ZstdIn;

static struct {
    void *(*create)(void);
    size_t (*free)(void *);
    size_t (*decompress)(void *, ZstdOut *, ZstdIn *);
    unsigned (*is_error)(size_t);
    const char *(*error_name)(size_t);
} zstd;

struct Decompressor {
    Compression compression;
    ZlibStream z;
    void *zstd_stream;
    bool complete; // at the end of a member or frame, or at the very start
};

Compression compression_of(const unsigned char *head, size_t size) {
    if (size >= 2 && head[0] == 0x1F && head[1] == 0x8B) return COMPRESSION_GZIP;
    // A zstd frame, or one of the skippable frames that some tools put before it.
    if (size >= 4 && memcmp(head, "\x28\xB5\x2F\xFD", 4) == 0) return COMPRESSION_ZSTD;
    if (size >= 4 && (head[0] & 0xF0) == 0x50 && memcmp(head + 1, "\x2A\x4D\x18", 3) == 0) return COMPRESSION_ZSTD;
    return COMPRESSION_NONE;
}

// dlsym returns an object pointer; POSIX promises that the copy is the function.
static bool find(void *function, void *library, const char *symbol) {
    void *address = dlsym(library, symbol);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

static bool load_zlib(void) {
    void *library = zlib.end ? NULL : dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
    return zlib.end || (library && find(&zlib.version, library, "zlibVersion") &&
                        find(&zlib.init, library, "inflateInit2_") && find(&zlib.inflate, library, "inflate") &&
                        find(&zlib.reset, library, "inflateReset") && find(&zlib.end, library, "inflateEnd"));
}

static bool load_zstd(void) {
    void *library = zstd.error_name ? NULL : dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
    return zstd.error_name ||
           (library && find(&zstd.create, library, "ZSTD_createDStream") &&
            find(&zstd.free, library, "ZSTD_freeDStream") &&
            find(&zstd.decompress, library, "ZSTD_decompressStream") &&
            find(&zstd.is_error, library, "ZSTD_isError") && find(&zstd.error_name, library, "ZSTD_getErrorName"));
}

Decompressor *decompressor_open(Compression compression, Error *err) {
    bool gzip = compression == COMPRESSION_GZIP;
    if (!(gzip ? load_zlib() : load_zstd())) {
        error_set(err,
                  "compressed by %s, and %s is not installed: apt-get install %s, or pipe it: %s FILE | train "
                  "tokenize ... -",
                  gzip ? "gzip" : "zstd", gzip ? "libz.so.1" : "libzstd.so.1", gzip ? "zlib1g" : "libzstd1",
                  gzip ? "zcat" : "zstdcat");
        return NULL;
    }
    Decompressor *d = calloc(1, sizeof *d);
    ASSERT(d);
    d->compression = compression;
    d->complete = true;
    bool ok = gzip ? zlib.init(&d->z, ZLIB_GZIP_WINDOW, zlib.version(), (int)sizeof d->z) == ZLIB_OK
                   : (d->zstd_stream = zstd.create()) != NULL;
    if (ok) return d;
    free(d);
    error_set(err, "out of memory for decompression");
    return NULL;
}

void decompressor_close(Decompressor *d) {
    if (!d) return;
    if (d->compression == COMPRESSION_GZIP) zlib.end(&d->z);
    else zstd.free(d->zstd_stream);
    free(d);
}

static bool inflate_gzip(Decompressor *d, char *out, size_t *out_size, const unsigned char *in, size_t *in_size,
                         Error *err) {
    ZlibStream *z = &d->z;
    const size_t in_most = *in_size < INT_MAX ? *in_size : INT_MAX,
                 out_most = *out_size < INT_MAX ? *out_size : INT_MAX;
    *in_size = *out_size = 0;
    if (d->complete) { // zeros may fill up the last block of a tape or disk behind the last member
        while (*in_size < in_most && z->total_in > 0 && in[*in_size] == 0) ++*in_size;
        if (*in_size == in_most) return true;
        zlib.reset(z);
        d->complete = false;
    }
    z->next_in = in + *in_size;
    z->avail_in = (unsigned)(in_most - *in_size);
    z->next_out = (unsigned char *)out;
    z->avail_out = (unsigned)out_most;
    int status = zlib.inflate(z, 0);
    *in_size = in_most - z->avail_in;
    *out_size = out_most - z->avail_out;
    d->complete = status == ZLIB_STREAM_END;
    if (status == ZLIB_OK || status == ZLIB_STREAM_END || status == ZLIB_BUF_ERROR) return true;
    return error_set(err, "the gzip data are corrupt: %s", z->message ? z->message : "no reason given");
}

static bool inflate_zstd(Decompressor *d, char *out, size_t *out_size, const unsigned char *in, size_t *in_size,
                         Error *err) {
    ZstdOut to = {out, *out_size, 0};
    ZstdIn from = {in, *in_size, 0};
    size_t left = zstd.decompress(d->zstd_stream, &to, &from);
    *in_size = from.position;
    *out_size = to.position;
    if (from.position > 0 || to.position > 0) d->complete = left == 0;
    if (!zstd.is_error(left)) return true;
    return error_set(err, "the zstd data are corrupt: %s", zstd.error_name(left));
}

bool decompress(Decompressor *d, char *out, size_t *out_size, const unsigned char *in, size_t *in_size,
                Error *err) {
    return (d->compression == COMPRESSION_GZIP ? inflate_gzip : inflate_zstd)(d, out, out_size, in, in_size, err);
}

bool decompressor_is_complete(const Decompressor *d) {
    return d->complete;
}

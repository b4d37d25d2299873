// data/tokenizer/tokenize.h - `train tokenize`: texts in, token shards out.
#ifndef POLAR_DATA_TOKENIZER_TOKENIZE_H
#define POLAR_DATA_TOKENIZER_TOKENIZE_H

#include "data/tokenizer/vocab.h"

// Format of a file, both after decompression: a text, which is one document, or lines of JSON, each an object with a document
// in one of its strings. AUTO: by name and content (data/tokenizer/input.h).
typedef enum { FORMAT_AUTO, FORMAT_TEXT, FORMAT_JSONL } TextFormat;

// Which lines of JSON are skipped and counted: those whose text is missing, null or empty; those and lines that are not
// objects with a string; none.
typedef enum { BAD_DOCUMENT_SKIP_EMPTY, BAD_DOCUMENT_SKIP, BAD_DOCUMENT_STOP } OnBadDocument;

typedef struct {
    int64_t bytes; // of text
    int64_t file_bytes,
        total_bytes; // of the files as they are stored: read so far and altogether; total 0: not known
    int64_t documents, empty_documents, bad_lines; // tokenized; skipped
    int64_t train_tokens, val_tokens;
    int n_compressed, n_json; // files; without standard input
    int n_shards;
} TokenizeResult;

// Every document is preceded by the end-of-text token. Validation gets NAME_val_000000.bin, the rest goes to
// NAME_train_000001.bin, ... of shard_tokens tokens each (the last one shorter), documents straddling their ends.
typedef struct {
    const Vocab *vocab; // not "none"
    const char *out_dir, *name;
    const char *const *files; // "-" is standard input
    int n_files;
    TextFormat format;
    const char *field; // of the JSON objects
    OnBadDocument on_bad_document;
    int64_t shard_tokens;
    double val_fraction; // of the bytes of every text, its end, goes to validation as a document of its own; or,
    int64_t val_tokens;  // where not negative: whole documents, the first ones, until there are so many tokens
    int threads;
    bool overwrite;
    void (*progress)(const TokenizeResult *so_far); // NULL: none
    int (*stop)(void);                              // not 0 ends it with an error; NULL: never
} TokenizeConfig;

// Refuses, before anything is written, files that cannot be read or are not text, and shards of that name that exist already; with
// `overwrite` those are removed. The shards do not depend on the number of threads, and the memory it takes not on the
// size of the texts: every thread holds about a megabyte of text, more only where a single line of JSON or a single
// word is longer. The validation shard gets its name last. After an error no shard of the set is left.
bool tokenize_files(TokenizeResult *result, const TokenizeConfig *config, Error *err);
#endif

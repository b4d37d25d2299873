// Writes byte-pair vocabularies in the format of transformers' GPT2Tokenizer: vocab.json and merges.txt.
#include "run/hf/arch.h"

#include "base/file.h"
#include "base/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char end_of_text[] = "<|endoftext|>";

bool hf_write_text(const char *dir, const char *name, char *text, size_t size, Error *err) {
    char path[PATH_BYTES];
    path_join(path, dir, name);
    bool ok = file_replace(path, &(FilePiece){text, size}, 1, err);
    free(text);
    return ok;
}

// GPT-2's byte-to-unicode table: printable bytes map to themselves, the others, in order, to U+0100 and up. UTF-8.
static void make_characters(char characters[256][3]) {
    int next = 0x100;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
        int c = printable ? b : next++;
        if (c < 0x80) {
            characters[b][0] = (char)c;
            characters[b][1] = 0;
        } else {
            characters[b][0] = (char)(0xC0 | c >> 6);
            characters[b][1] = (char)(0x80 | (c & 0x3F));
            characters[b][2] = 0;
        }
    }
}

// The text of a token in these characters.
static void token_text(char text[2 * BPE_MAX_BYTES + 1], const Bpe *bpe, int token, const char characters[256][3]) {
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = bpe->starts[token]; i < bpe->starts[token + 1]; i++) {
        const char *c = characters[(unsigned char)bpe->bytes[i]];
        memcpy(text + used, c, strlen(c) + 1);
        used += strlen(c);
    }
}

// Finds the two tokens that merge into a token: those left after applying all earlier merges to its bytes.
static bool find_merge(uint16_t merge[2], const Bpe *bpe, int token, Error *err) {
    uint16_t parts[BPE_MAX_BYTES];
    int n = 0;
    for (uint32_t i = bpe->starts[token]; i < bpe->starts[token + 1]; i++)
        parts[n++] = bpe->single[(unsigned char)bpe->bytes[i]];
    while (n > 2) {
        int at = -1, best = token;
        for (int i = 0; i + 1 < n; i++) {
            int merged = bpe_find_pair(bpe, parts[i], parts[i + 1]); // BPE_NO_TOKEN is larger than all tokens
            if (merged < best) at = i, best = merged;
        }
        if (at < 0)
            return error_set(
                err,
                "token %d of the vocabulary is not a merge of two earlier tokens, so there is no list of "
                "merges for Hugging Face; --vocab none exports without a tokenizer",
                token);
        parts[at] = (uint16_t)best;
        memmove(&parts[at + 1], &parts[at + 2], (size_t)(n - at - 2) * sizeof *parts);
        n--;
    }
    memcpy(merge, parts, 2 * sizeof *merge);
    return true;
}

static bool write_merges(const char *dir, const Bpe *bpe, const char characters[256][3], Error *err) {
    char left[2 * BPE_MAX_BYTES + 1], right[2 * BPE_MAX_BYTES + 1], *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    ASSERT(out);
    fputs("#version: 0.2\n", out);
    bool ok = true;
    for (int token = 0; token < bpe->n_tokens && ok; token++) {
        uint16_t merge[2];
        if (bpe->starts[token + 1] - bpe->starts[token] < 2) continue;
        ok = find_merge(merge, bpe, token, err);
        if (!ok) break;
        token_text(left, bpe, merge[0], characters);
        token_text(right, bpe, merge[1], characters);
        fprintf(out, "%s %s\n", left, right);
    }
    fclose(out);
    if (ok) return hf_write_text(dir, "merges.txt", text, size, err);
    free(text);
    return false;
}

static bool write_vocab(const char *dir, const Bpe *bpe, const char characters[256][3], Error *err) {
    JsonWriter w = {0};
    char text[2 * BPE_MAX_BYTES + 1];
    json_begin_object(&w, NULL);
    for (int token = 0; token < bpe->n_tokens; token++) {
        token_text(text, bpe, token, characters);
        if (strcmp(text, end_of_text) == 0) {
            json_writer_free(&w);
            return error_set(
                err,
                "token %d of the vocabulary is the text %s, which names the end-of-text token in Hugging "
                "Face's files; --vocab none exports without a tokenizer",
                token, end_of_text);
        }
        json_int(&w, text, token);
    }
    json_int(&w, end_of_text, bpe->n_tokens);
    json_end_object(&w);
    return hf_write_text(dir, "vocab.json", w.text, w.size, err);
}

static void put_special_tokens(JsonWriter *w) {
    json_string(w, "bos_token", end_of_text);
    json_string(w, "eos_token", end_of_text);
    json_string(w, "unk_token", end_of_text);
}

static bool write_settings(const char *dir, int context, Error *err) {
    JsonWriter settings = {0}, special = {0};
    json_begin_object(&settings, NULL);
    json_string(&settings, "tokenizer_class", "GPT2Tokenizer");
    json_int(&settings, "model_max_length", context);
    json_bool(&settings, "add_prefix_space", false);
    json_bool(&settings, "clean_up_tokenization_spaces", false); // decoding must be lossless
    put_special_tokens(&settings);
    json_end_object(&settings);
    json_begin_object(&special, NULL);
    put_special_tokens(&special);
    json_end_object(&special);
    bool ok = hf_write_text(dir, "tokenizer_config.json", settings.text, settings.size, err);
    if (ok) return hf_write_text(dir, "special_tokens_map.json", special.text, special.size, err);
    json_writer_free(&special);
    return false;
}

bool hf_write_tokenizer(const char *dir, const Bpe *bpe, int context, Error *err) {
    char characters[256][3];
    make_characters(characters);
    return write_merges(dir, bpe, characters, err) && write_vocab(dir, bpe, characters, err) &&
           write_settings(dir, context, err);
}

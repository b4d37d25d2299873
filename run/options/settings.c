// Settings from the command line and from configuration files.
#include "base/file.h"
#include "base/suggest.h"
#include "run/options/options.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void settings_add(Settings *settings, const char *name, const char *text, const char *origin) {
    if (settings->count == settings->capacity) {
        settings->capacity = settings->capacity ? 2 * settings->capacity : 32;
        settings->items = realloc(settings->items, (size_t)settings->capacity * sizeof *settings->items);
        ASSERT(settings->items);
    }
    Setting *s = &settings->items[settings->count++];
    *s = (Setting){strdup(name), strdup(text), strdup(origin)};
    ASSERT(s->name && s->text && s->origin);
}

void settings_free(Settings *settings) {
    for (int i = 0; i < settings->count; i++) {
        free(settings->items[i].name);
        free(settings->items[i].text);
        free(settings->items[i].origin);
    }
    free(settings->items);
    *settings = (Settings){0};
}

const Setting *settings_find(const Settings *settings, const char *name) {
    for (int i = settings->count - 1; i >= 0; i--)
        if (strcmp(settings->items[i].name, name) == 0) return &settings->items[i];
    return NULL;
}

bool setting_error(Error *err, const Setting *setting) {
    return setting->origin[0] ? error_prefix(err, "%s", setting->origin) : false;
}

// ------------------------------------------------------------------------------------------------ command line

static bool add_argument(Settings *settings, int *used, const char *name, const char *equals, const char *next,
                         const OptionNames *names, Error *err) {
    bool known = true, value;
    bool flag = names->is_flag(names->context, name, &known);
    *used = 0;
    if (!known && strncmp(name, "no-", 3) == 0) {
        bool negated_known = true;
        if (names->is_flag(names->context, name + 3, &negated_known) && negated_known) {
            if (equals) return error_set(err, "--%s takes no value; write --%s=no", name, name + 3);
            settings_add(settings, name + 3, "no", "");
            return true;
        }
    }
    if (!known) return names->unknown(names->context, name, err);
    if (equals) {
        settings_add(settings, name, equals, "");
    } else if (flag) {
        *used = next && parse_yes_no(&value, next);
        settings_add(settings, name, *used ? next : "yes", "");
    } else {
        // A negative number is a value; "--x" is the next option.
        if (!next || strncmp(next, "--", 2) == 0)
            return error_set(err, "--%s needs a value; --help explains it", name);
        *used = 1;
        settings_add(settings, name, next, "");
    }
    return true;
}

bool settings_from_arguments(Settings *settings, const char **positional, int *n_positional, int argc,
                             const char *const *argv, const OptionNames *names, Error *err) {
    if (n_positional) *n_positional = 0;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (strncmp(arg, "--", 2) != 0) {
            if (arg[0] == '-' && arg[1])
                return error_set(err, "'%s' is not an option; options begin with two dashes, see --help", arg);
            if (!positional) return error_set(err, "unexpected '%s'; options begin with --, see --help", arg);
            positional[(*n_positional)++] = arg;
            continue;
        }
        char name[128];
        const char *equals = strchr(arg, '=');
        size_t length = equals ? (size_t)(equals - arg - 2) : strlen(arg + 2);
        if (length >= sizeof name) return error_set(err, "unknown option '%.60s...'; see --help", arg);
        memcpy(name, arg + 2, length);
        name[length] = 0;
        int used;
        if (!add_argument(settings, &used, name, equals ? equals + 1 : NULL, i + 1 < argc ? argv[i + 1] : NULL,
                          names, err))
            return false;
        i += used;
    }
    return true;
}

static bool table_is_flag(const void *context, const char *name, bool *known) {
    const OptionSpec *spec = option_find(context, name);
    *known = spec != NULL;
    return spec && spec->kind == KIND_YES_NO;
}

static bool table_unknown(const void *context, const char *name, Error *err) {
    enum { MOST = 64 };
    const OptionTable *table = context;
    const char *names[MOST];
    ASSERT(table->n_specs <= MOST);
    for (int i = 0; i < table->n_specs; i++) names[i] = table->specs[i].name;
    const char *near = nearest_name(name, names, table->n_specs);
    if (near) return error_set(err, "unknown option '--%s'; did you mean '--%s'?", name, near);
    return error_set(err, "unknown option '--%s'; --help lists all", name);
}

bool options_from_arguments(void *base, const OptionTable *table, const char **positional, int *n_positional,
                            int argc, const char *const *argv, Error *err) {
    const OptionNames names = {table, table_is_flag, table_unknown};
    Settings settings = {0};
    options_init(base, table);
    bool ok = settings_from_arguments(&settings, positional, n_positional, argc, argv, &names, err);
    for (int i = 0; i < settings.count && ok; i++)
        ok = option_set(base, option_find(table, settings.items[i].name), settings.items[i].text, err);
    settings_free(&settings);
    return ok;
}

// ---------------------------------------------------------------------------------------------------- files

// Unquotes in place the value that begins at `text`; false on a stray quote or escape. What follows it on the line
// may only be a comment.
static bool parse_value(char *text) {
    char *out = text, *in = text;
    if (*in != '"') {
        char *end = in;
        while (*end && !(*end == '#' && (end == in || isspace((unsigned char)end[-1])))) end++;
        while (end > in && isspace((unsigned char)end[-1])) end--;
        *end = 0;
        return true;
    }
    for (in++; *in && *in != '"'; in++) {
        if (*in != '\\') {
            *out++ = *in;
            continue;
        }
        in++;
        if (*in == 'n') *out++ = '\n';
        else if (*in == 't') *out++ = '\t';
        else if (*in == '"' || *in == '\\') *out++ = *in;
        else return false;
    }
    if (*in != '"') return false;
    for (in++; isspace((unsigned char)*in); in++) {
    }
    if (*in && *in != '#') return false;
    *out = 0;
    return true;
}

static bool parse_line(Settings *settings, char *line, const char *path, int number, Error *err) {
    char origin[OPTION_TEXT_MAX + 32];
    snprintf(origin, sizeof origin, "%s:%d", path, number);
    while (isspace((unsigned char)*line)) line++;
    if (!*line || *line == '#') return true;
    char *equals = strchr(line, '=');
    if (!equals) return error_set(err, "%s: expected 'name = value', found '%.60s'", origin, line);
    char *end = equals;
    while (end > line && isspace((unsigned char)end[-1])) end--;
    char *value = equals + 1;
    while (isspace((unsigned char)*value)) value++;
    if (!parse_value(value)) return error_set(err, "%s: bad quotes or escapes in the value", origin);
    *end = 0;
    const Setting *earlier = settings_find(settings, line);
    if (earlier) return error_set(err, "%s: '%s' was set before, at %s", origin, line, earlier->origin);
    settings_add(settings, line, value, origin);
    return true;
}

bool settings_from_file(Settings *settings, const char *path, Error *err) {
    enum { MAX_BYTES = 1 << 20 };
    size_t size;
    char *text = file_read_whole(&size, path, MAX_BYTES, err);
    if (!text) return error_prefix(err, "configuration");
    bool ok = true;
    int number = 1;
    for (char *line = text, *end; ok && line < text + size; line = end + 1, number++) {
        end = memchr(line, '\n', (size_t)(text + size - line));
        if (!end) end = text + size;
        *end = 0;
        if (strlen(line) != (size_t)(end - line))
            ok = error_set(err, "%s:%d: not a text file (a zero byte)", path, number);
        else ok = parse_line(settings, line, path, number, err);
    }
    free(text);
    return ok;
}

void setting_print(FILE *out, const char *name, const char *text) {
    size_t n = strlen(text);
    bool plain = n > 0 && !isspace((unsigned char)text[0]) && !isspace((unsigned char)text[n - 1]) &&
                 !strpbrk(text, "#\"\\\n\t");
    fprintf(out, "%s = ", name);
    if (plain) {
        fprintf(out, "%s\n", text);
        return;
    }
    putc('"', out);
    for (; *text; text++) {
        if (*text == '\n') fputs("\\n", out);
        else if (*text == '\t') fputs("\\t", out);
        else if (*text == '"' || *text == '\\') fprintf(out, "\\%c", *text);
        else putc(*text, out);
    }
    fputs("\"\n", out);
}

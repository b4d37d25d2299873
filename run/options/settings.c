#include "run/options/settings.h"

#include "base/utf8.h"
#include "base/file.h"
#include "base/suggest.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// ------------------------------------------------------------------------------------------------ names

// Sets *option to the i-th option of a parameter group; options of several optimizers are repeated. Returns false
// after the last one.
static bool group_option(OptionSpec *option, int i) {
    int n;
    const OptimizerDef *const *defs = optimizer_registry(&n);
    *option = (OptionSpec){.name = "optimizer", .kind = KIND_TEXT};
    if (i-- == 0) return true;
    if (i < schedule_options.n_specs) {
        *option = schedule_options.specs[i];
        return true;
    }
    i -= schedule_options.n_specs;
    for (int d = 0; d < n; i -= optimizer_option_count(defs[d++])) {
        if (i >= optimizer_option_count(defs[d])) continue;
        *option = optimizer_option(defs[d], i);
        return true;
    }
    return false;
}

static bool find_group_option(OptionSpec *option, const char *name) {
    for (int i = 0; group_option(option, i); i++)
        if (strcmp(option->name, name) == 0) return true;
    return false;
}

// Resolves a name: a row of the table, or a group prefix (the empty one last) and an option of that group. Returns
// false if it is neither.
static bool find_name(Setting *setting, bool *is_flag, const OptionNames *names, const char *name) {
    OptionSpec option;
    *setting = (Setting){.spec = option_find(names->table, name)};
    if (setting->spec) {
        *is_flag = setting->spec->kind == KIND_YES_NO;
        return true;
    }
    for (int g = GROUP_COUNT - 1; g >= 0 && names->optimizers; g--) {
        size_t n = strlen(group_prefix((ParamGroup)g));
        if (strncmp(name, group_prefix((ParamGroup)g), n) != 0 || !find_group_option(&option, name + n)) continue;
        setting->group = (ParamGroup)g;
        setting->option = name + n;
        *is_flag = option.kind == KIND_YES_NO;
        return true;
    }
    return false;
}

static bool unknown_name(const OptionNames *names, const char *name, Error *err) {
    enum { MAX_NAMES = 1024, NAME_BYTES = 64 };
    char(*text)[NAME_BYTES] = malloc(MAX_NAMES * sizeof *text);
    const char **all = malloc(MAX_NAMES * sizeof *all);
    ASSERT(text && all);
    int n = 0;
    OptionSpec option;
    for (; n < names->table->n_specs; n++) all[n] = names->table->specs[n].name;
    for (int g = 0; g < GROUP_COUNT && names->optimizers; g++)
        for (int i = 0; group_option(&option, i); i++, n++) {
            ASSERT(n < MAX_NAMES - 1);
            snprintf(text[n], NAME_BYTES, "%s%s", group_prefix((ParamGroup)g), option.name);
            all[n] = text[n];
        }
    all[n++] = "help";
    const char *near = suggest_name(name, all, n);
    if (near) error_set(err, "unknown option '%s'; did you mean '%s'? (--help lists all)", name, near);
    else error_set(err, "unknown option '%s'; --help lists all", name);
    free(text);
    free(all);
    return false;
}

bool settings_add(Settings *settings, const OptionNames *names, const char *name, const char *text,
                  const char *origin, Error *err) {
    bool is_flag;
    Setting setting;
    char *copy = strdup(name);
    ASSERT(copy);
    bool known = find_name(&setting, &is_flag, names, copy);
    if (!known) {
        free(copy);
        unknown_name(names, name, err);
        return origin[0] ? error_prefix(err, "%s", origin) : false;
    }
    setting.name = copy;
    setting.text = strdup(text);
    setting.origin = strdup(origin);
    ASSERT(setting.text && setting.origin);
    if (settings->count == settings->capacity) {
        settings->capacity = settings->capacity ? 2 * settings->capacity : 32;
        settings->items = realloc(settings->items, (size_t)settings->capacity * sizeof *settings->items);
        ASSERT(settings->items);
    }
    settings->items[settings->count++] = setting;
    return true;
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

bool settings_apply(void *base, const Settings *settings, Error *err) {
    for (int i = 0; i < settings->count; i++) {
        const Setting *s = &settings->items[i];
        if (s->spec && !option_set(base, s->spec, s->text, err)) return setting_error(err, s);
    }
    return true;
}

// ------------------------------------------------------------------------------------------------ command line

// Adds the setting of one argument, `name` with the text after its equals sign, if any. *used: the next argument
// was its value.
static bool add_argument(Settings *settings, bool *used, const char *name, const char *equals, const char *next,
                         const OptionNames *names, Error *err) {
    Setting found;
    bool is_flag = false, value;
    *used = false;
    if (!find_name(&found, &is_flag, names, name) && strncmp(name, "no-", 3) == 0 &&
        find_name(&found, &is_flag, names, name + 3) && is_flag) {
        if (equals) return error_set(err, "--%s takes no value; write --%s=no", name, name + 3);
        return settings_add(settings, names, name + 3, "no", "", err);
    }
    if (equals || !find_name(&found, &is_flag, names, name))
        return settings_add(settings, names, name, equals ? equals : "", "", err);
    if (is_flag) {
        *used = next && parse_yes_no(&value, next);
        return settings_add(settings, names, name, *used ? next : "yes", "", err);
    }
    // A negative number is a value; "--x" is the next option.
    if (!next || strncmp(next, "--", 2) == 0) return error_set(err, "--%s needs a value; --help explains it", name);
    *used = true;
    return settings_add(settings, names, name, next, "", err);
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
        bool used;
        if (!add_argument(settings, &used, name, equals ? equals + 1 : NULL, i + 1 < argc ? argv[i + 1] : NULL,
                          names, err))
            return false;
        i += used;
    }
    return true;
}

bool options_from_arguments(void *base, const OptionTable *table, const char **positional, int *n_positional,
                            int argc, const char *const *argv, Error *err) {
    const OptionNames names = {.table = table};
    Settings settings = {0};
    options_init(base, table);
    bool ok = settings_from_arguments(&settings, positional, n_positional, argc, argv, &names, err) &&
              settings_apply(base, &settings, err);
    settings_free(&settings);
    return ok;
}

bool options_and_run(void *base, const OptionTable *table, const char **run, int argc, const char *const *argv,
                     Error *err) {
    int n;
    const char **words = malloc((size_t)(argc + 1) * sizeof *words);
    ASSERT(words);
    bool ok = options_from_arguments(base, table, words, &n, argc, argv, err);
    *run = ok && n > 0 ? words[0] : NULL;
    if (ok && n > 1) ok = error_set(err, "unexpected '%s': one run at a time", words[1]);
    free(words);
    return ok;
}

// ---------------------------------------------------------------------------------------------------- files

// Unquotes the value at `text` in place; returns false on a stray quote or escape. Only a comment may follow it on the
// line.
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

// Parses one line. The settings of this file begin at index `first`.
static bool parse_line(Settings *settings, int first, char *line, const char *path, int number,
                       const OptionNames *names, Error *err) {
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
    const Settings file = {.items = settings->items ? settings->items + first : NULL,
                           .count = settings->count - first};
    const Setting *earlier = settings_find(&file, line);
    if (earlier) return error_set(err, "%s: '%s' was set before, at %s", origin, line, earlier->origin);
    if (!settings_add(settings, names, line, value, origin, err)) return false;
    const Setting *s = &settings->items[settings->count - 1];
    if (!s->spec || !s->spec->not_stored) return true;
    return error_set(err, "%s: '%s' is only allowed on the command line, not in a file", origin, line);
}

bool settings_from_file(Settings *settings, const char *path, const OptionNames *names, Error *err) {
    enum { MAX_BYTES = 1 << 20 };
    size_t size;
    char *text = file_read_whole(&size, path, MAX_BYTES, err);
    if (!text) return error_prefix(err, "configuration");
    bool ok = true;
    int number = 1, first = settings->count;
    for (char *line = text + utf8_bom_size(text, size), *end; ok && line < text + size; line = end + 1, number++) {
        end = memchr(line, '\n', (size_t)(text + size - line));
        if (!end) end = text + size;
        *end = 0;
        if (strlen(line) != (size_t)(end - line))
            ok = error_set(err, "%s:%d: not a text file (a zero byte)", path, number);
        else ok = parse_line(settings, first, line, path, number, names, err);
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

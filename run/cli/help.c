#include "run/cli/commands.h"

#include "base/suggest.h"
#include "run/options/config.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool help_wanted(const char **topic, int argc, const char *const *argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *topic = i + 1 < argc ? argv[i + 1] : NULL;
            return true;
        }
    return false;
}

// Columns of the terminal, within limits; 100 if standard output is not one.
static int help_width(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 100;
    return size.ws_col < 60 ? 60 : size.ws_col > 110 ? 110 : size.ws_col;
}

// Prints size bytes of text wrapped at the width, breaking at spaces and line ends. The first line begins at
// `column`; the others are indented to it.
static void print_wrapped(const char *text, size_t size, int column) {
    const int width = help_width();
    const char *end = text + size;
    int at = column;
    while (text < end) {
        int n = 0;
        while (text + n < end && !strchr(" \n", text[n])) n++;
        if (at > column && at + 1 + n > width) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", n, text);
        at += n;
        text += n;
        while (text < end && strchr(" \n", *text)) text++;
    }
    putchar('\n');
}

// Prints paragraphs, wrapped: consecutive lines, except those that begin with a space, "usage:" or "example", which
// stay as they are.
static void print_text(const char *text) {
    while (*text) {
        const char *end = text;
        bool verbatim = true;
        for (; *end; end = end + strcspn(end, "\n") + 1) {
            verbatim =
                *end == ' ' || *end == '\n' || strncmp(end, "usage:", 6) == 0 || strncmp(end, "example", 7) == 0;
            if (verbatim) break;
        }
        if (end > text) print_wrapped(text, (size_t)(end - text), 0);
        if (!*end) break;
        text = end + strcspn(end, "\n") + 1;
        printf("%.*s", (int)(text - end), end);
    }
}

// Prints the name of an option and its choices, which may be broken after a bar. Returns the column where it ends.
static int print_name(const char *name) {
    enum { INDENT = 6 };
    const int width = help_width();
    int at = printf("  ");
    while (*name) {
        int n = (int)strcspn(name, "|");
        n += name[n] == '|';
        if (at + n > width && at > INDENT) at = printf("\n%*s", INDENT, "") - 1;
        at += printf("%.*s", n, name);
        name += n;
    }
    return at;
}

static void print_row(const char *name, const char *help) {
    enum { COLUMN = 28 };
    int at = print_name(name);
    if (at > COLUMN - 2) {
        putchar('\n');
        at = 0;
    }
    printf("%*s", COLUMN - at, "");
    print_wrapped(help, strlen(help), COLUMN);
}

// "--norm layernorm|rmsnorm", "--out DIR", "--[no-]nesterov".
static void spec_name(char *name, size_t size, const OptionSpec *spec, const char *prefix) {
    static const char *const values[] = {
        [KIND_TEXT] = " TEXT", [KIND_INT] = " N",  [KIND_INT64] = " N", [KIND_NUMBER] = " X",
        [KIND_YES_NO] = "",    [KIND_ONE_OF] = "", [KIND_ENTRY_OF] = ""};
    size_t used = (size_t)snprintf(name, size, "--%s%s", prefix, spec->name);
    if (spec->value) snprintf(name + used, size - used, " %s", spec->value);
    else snprintf(name + used, size - used, "%s", values[spec->kind]);
    bool has_choices = spec->kind == KIND_ONE_OF || spec->kind == KIND_ENTRY_OF;
    for (int i = 0; has_choices && option_word(spec, i); i++)
        used += (size_t)snprintf(name + used, size - used, "%s%s", i ? "|" : " ", option_word(spec, i));
}

static void print_spec(const OptionSpec *spec) {
    char name[256], help[1024];
    bool on = spec->kind == KIND_YES_NO && strcmp(spec->def, "yes") == 0;
    spec_name(name, sizeof name, spec, on ? "[no-]" : "");
    if (spec->def && spec->def[0]) snprintf(help, sizeof help, "%s [%s]", spec->help, spec->def);
    else snprintf(help, sizeof help, "%s", spec->help);
    print_row(name, help);
}

void help_print_options(const OptionTable *options) {
    const char *section = "";
    for (int i = 0; i < options->n_specs; i++) {
        const OptionSpec *spec = &options->specs[i];
        if (strcmp(section, option_section(options, spec)) != 0) printf("\n%s\n", option_section(options, spec));
        section = option_section(options, spec);
        print_spec(spec);
    }
}

bool help_print_command(const char *usage, const OptionTable *options, const char *more) {
    print_text(usage);
    if (!option_section(options, options->specs)[0]) putchar('\n');
    help_print_options(options);
    putchar('\n');
    print_text(more);
    return true;
}

// A line of the usage: what to type, and in a second column what it does.
static void print_usage(const char *command, const char *arguments, const char *summary) {
    enum { COLUMN = 42 };
    int n = printf("       train %s %s", command, arguments);
    printf("%*s%s\n", n < COLUMN ? COLUMN - n : 1, "", summary);
}

static const char introduction[] =
    "\n"
    "A first run, from a text file to generated text:\n"
    "  train tokenize --out corpus --name book book.txt\n"
    "  train --vocab bytes --train-data 'corpus/book_train_*.bin' \\\n"
    "        --val-data 'corpus/book_val_*.bin' --n-layer 4 --n-head 4 \\\n"
    "        --d-model 128 --seq-len 128 --batch-size 16 --steps 500 --out runs/first\n"
    "  train sample runs/first --prompt 'It was'\n"
    "\n"
    "Options are written --name value or --name=value, flags --name or --no-name. A --config file has the same "
    "names, one 'name = value' per line, with # comments; the command line overrides the file. Every run writes "
    "its complete configuration to RUN/config.conf, which is such a file.\n"
    "Ctrl-C, SIGTERM and SIGUSR1 finish the step, write a checkpoint and exit with status 75. Defaults are in "
    "[].\n";

static const char groups[] =
    "--lr and the other options of --optimizer concern the hidden matrices. Embeddings, an untied head, and "
    "vectors "
    "(gains and biases) have their own optimizers, with the same options prefixed by embed-, head- or vector- "
    "(--embed-optimizer, --vector-lr, ...). The default is AdamW with the schedule of the hidden matrices and, if "
    "these use AdamW too, with their options.";

static void print_general(void) {
    puts("usage: train [options]                    train a language model\n"
         "       train --resume RUN                 resume a stopped or killed run");
    for (const Command *c = commands; c->name; c++) print_usage(c->name, c->arguments, c->summary);
    print_usage("COMMAND", "--help", "explain one of these commands");
    print_usage("--help", "optimizers", "list the optimizers");
    print_usage("--help", "NAME", "the options of an optimizer");
    print_usage("--help", "WORD", "all options with this word");
    print_usage("--version", "", "the commit that it was built from");
    print_text(introduction);
    help_print_options(&run_options);
    fputs("\nOptimizer\n", stdout);
    print_row("--optimizer NAME", "optimizer of the hidden matrices (--help optimizers lists all) [adamw]");
    print_row("--lr X, ...", "learning rate and other options of this optimizer: see --help NAME");
    help_print_options(&schedule_options);
    printf("  ");
    print_wrapped(groups, strlen(groups), 2);
}

static void print_optimizers(void) {
    int n;
    const OptimizerDef *const *defs = optimizer_registry(&n);
    for (int i = 0; i < n; i++) print_row(defs[i]->name, defs[i]->summary);
    puts("\ntrain --help NAME prints the options of an optimizer.");
}

static void print_optimizer(const OptimizerDef *def) {
    printf("%s: %s\n", def->name, def->summary);
    print_text(def->reference);
    if (def->matrices_only) puts("Only for matrices: gains and biases need another optimizer.");
    putchar('\n');
    for (int i = 0; i < optimizer_option_count(def); i++) {
        const OptionSpec o = optimizer_option(def, i);
        const char *note = def->offers ? def->offers[i].note : NULL;
        bool number = o.kind == KIND_INT || o.kind == KIND_INT64 || o.kind == KIND_NUMBER;
        char name[256], help[1024], range[96] = "";
        spec_name(name, sizeof name, &o, o.kind == KIND_YES_NO ? "[no-]" : "");
        if (number) snprintf(range, sizeof range, " (%g to %g)", o.min, o.max);
        snprintf(help, sizeof help, "%s%s [%s%s%s]", o.help, range, o.def, note ? "; " : "", note ? note : "");
        print_row(name, help);
    }
    print_text(
        "\n"
        "These are the options of the hidden matrices. For embeddings, head and vectors, prefix them with embed-, "
        "head- or vector-.\n");
}

// Prints the options of `table` whose name or help contains the word; returns their number.
static int print_matches(const OptionTable *table, const char *word) {
    int n = 0;
    for (int i = 0; i < table->n_specs; i++)
        if (strstr(table->specs[i].name, word) || strstr(table->specs[i].help, word))
            print_spec(&table->specs[i]), n++;
    return n;
}

// The error if no option has the word.
static bool no_help(const char *word, Error *err) {
    const char *names[32];
    int n;
    const OptimizerDef *const *defs = optimizer_registry(&n);
    ASSERT(n <= (int)(sizeof names / sizeof *names));
    for (int i = 0; i < n; i++) names[i] = defs[i]->name;
    const char *near = suggest_name(word, names, n);
    return error_set(err, "no option and no optimizer has the word '%s'%s%s%s; train --help lists all options",
                     word, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

bool command_help(const char *topic, Error *err) {
    Error unknown;
    if (!topic) {
        print_general();
        return true;
    }
    if (strcmp(topic, "optimizers") == 0) {
        print_optimizers();
        return true;
    }
    const OptimizerDef *def = optimizer_find(topic, &unknown);
    if (def) {
        print_optimizer(def);
        return true;
    }
    const char *word = strncmp(topic, "--", 2) == 0 ? topic + 2 : topic;
    int n = print_matches(&run_options, word) + print_matches(&schedule_options, word);
    int n_defs;
    const OptimizerDef *const *defs = optimizer_registry(&n_defs);
    for (int d = 0; d < n_defs; d++)
        for (int o = 0; o < optimizer_option_count(defs[d]); o++) {
            const OptionSpec option = optimizer_option(defs[d], o);
            if (!strstr(option.name, word)) continue;
            printf("  --%s of %s: train --help %s\n", option.name, defs[d]->name, defs[d]->name);
            n++;
        }
    for (const Command *c = commands; c->name; c++)
        if (strcmp(c->name, word) == 0) n += printf("  the command %s: train %s --help\n", word, word) > 0;
    return n > 0 || no_help(word, err);
}

#include "run/cli/commands.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool help_wanted(const char **topic, int argc, const char *const *argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *topic = i + 1 < argc && argv[i + 1][0] != '-' ? argv[i + 1] : NULL;
            return true;
        }
    return false;
}

// `text` in lines of at most 110 columns, the later ones indented to `column`, where the first begins.
static void print_wrapped(const char *text, int column) {
    int at = column;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (at > column && at + 1 + n > 110) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", n, text);
        at += n;
        text += n;
        while (*text == ' ') text++;
    }
    putchar('\n');
}

static void print_row(const char *name, const char *help) {
    enum { COLUMN = 28 };
    int n = printf("  %s", name);
    if (n > COLUMN - 2) {
        putchar('\n');
        n = 0;
    }
    printf("%*s", COLUMN - n, "");
    print_wrapped(help, COLUMN);
}

static void print_spec(const OptionSpec *spec) {
    char name[256], help[1024], choices[128] = "";
    static const char *const values[] = {[KIND_TEXT] = " TEXT", [KIND_INT] = " N",  [KIND_INT64] = " N",
                                         [KIND_NUMBER] = " X",  [KIND_YES_NO] = "", [KIND_ONE_OF] = " WORD"};
    if (spec->value) snprintf(name, sizeof name, "--%s %s", spec->name, spec->value);
    else snprintf(name, sizeof name, "--%s%s", spec->name, values[spec->kind]);
    if (spec->kind == KIND_YES_NO && strcmp(spec->def, "yes") == 0)
        snprintf(name, sizeof name, "--no-%s", spec->name);
    for (int i = 0; spec->choices && spec->choices[i]; i++) {
        size_t used = strlen(choices);
        snprintf(choices + used, sizeof choices - used, "%s%s", i ? "|" : "", spec->choices[i]);
    }
    if (choices[0]) snprintf(name, sizeof name, "--%s %s", spec->name, choices);
    if (spec->kind == KIND_YES_NO) snprintf(help, sizeof help, "%s [%s]", spec->help, spec->def);
    else if (spec->def && spec->def[0]) snprintf(help, sizeof help, "%s [%s]", spec->help, spec->def);
    else snprintf(help, sizeof help, "%s", spec->help);
    print_row(name, help);
}

void help_print_options(const OptionTable *options) {
    const char *section = "";
    for (int i = 0; i < options->n_specs; i++) {
        const OptionSpec *spec = &options->specs[i];
        if (strcmp(section, spec->section) != 0) printf("\n%s\n", spec->section);
        section = spec->section;
        print_spec(spec);
    }
}

static void print_general(void) {
    fputs(
        "usage: train [options]                   train a language model\n"
        "       train --resume RUN                go on with a run that was stopped or killed\n"
        "       train tokenize [options] FILE...  make token shards of text (train tokenize --help)\n"
        "       train sample RUN [options]        let a run write text (train sample --help)\n"
        "       train eval RUN [options]          validation loss and HellaSwag accuracy (train eval --help)\n"
        "       train export RUN --out DIR        write it for Hugging Face transformers (train export --help)\n"
        "       train polar [options]             polar-factor methods: accuracy and speed (train polar --help)\n"
        "       train problem NAME [options]      a matrix problem by any optimizer (train problem --help)\n"
        "       train --help optimizers           the optimizers; --help NAME: the options of one\n"
        "\n"
        "A first run, from a text file to a text that the network writes:\n"
        "  train tokenize --out corpus --name book book.txt\n"
        "  train --vocab bytes --train-data 'corpus/book_train_*.bin' --val-data 'corpus/book_val_*.bin' \\\n"
        "        --n-layer 4 --n-head 4 --d-model 128 --seq-len 128 --batch-size 16 --steps 500 --out runs/first\n"
        "  train sample runs/first --prompt 'It was'\n"
        "\n"
        "Options are written --name value or --name=value, flags --name or --no-name. A file given with --config\n"
        "has the same names, 'name = value' a line, # before comments; the command line goes before the file.\n"
        "Every run writes the options it was made with to RUN/config.conf, which is such a file.\n"
        "Ctrl-C, SIGTERM and SIGUSR1 finish the step, write a checkpoint and end with status 75. Defaults are in "
        "[].\n",
        stdout);
    help_print_options(&run_options);
    fputs("\nOptimizer\n", stdout);
    print_row("--optimizer NAME", "of the hidden matrices (--help optimizers lists them) [adamw]");
    print_row("--lr X, ...", "learning rate and other options of that optimizer: --help NAME");
    print_row("--schedule WORD", "of the learning rate: constant, linear, cosine, wsd [constant]");
    print_row("--warmup N", "steps over which it rises from 0 [0]");
    print_row("--cooldown X", "wsd: the fraction of all steps over which it falls [0.4]");
    print_row("--final-lr X", "fraction of the learning rate it falls to [0]");
    fputs("  Embeddings, an untied head, and vectors (gains and biases) have optimizers of their own: the same\n"
          "  options with embed-, head- or vector- before the name (--embed-optimizer, --vector-lr, ...). By "
          "default\n"
          "  they are AdamW's, with the hidden matrices' schedule, and where these have AdamW too, its options.\n",
          stdout);
}

static void print_optimizers(void) {
    int n;
    const OptimizerDef *const *defs = optimizer_registry(&n);
    for (int i = 0; i < n; i++) print_row(defs[i]->name, defs[i]->summary);
    puts("\ntrain --help NAME prints the options of one.");
}

static void print_optimizer(const OptimizerDef *def) {
    GroupSettings defaults;
    group_settings_init(&defaults, def);
    printf("%s: %s\n%s\n", def->name, def->summary, def->reference);
    if (def->matrices_only) puts("For matrices only: gains and biases need another optimizer.");
    putchar('\n');
    for (int i = 0; i < def->n_options; i++) {
        const OptimizerOption *o = &def->options[i];
        char name[160], value[64], help[1024], range[96] = "";
        int used = snprintf(name, sizeof name, "--%s%s", o->kind == OPTION_FLAG ? "[no-]" : "", o->name);
        if (o->kind == OPTION_INT || o->kind == OPTION_REAL) {
            snprintf(name + used, sizeof name - (size_t)used, o->kind == OPTION_INT ? " N" : " X");
            snprintf(range, sizeof range, " (%g to %g)", o->min, o->max);
        }
        for (int c = 0; o->kind == OPTION_CHOICE && o->choices[c]; c++)
            used += snprintf(name + used, sizeof name - (size_t)used, "%s%s", c ? "|" : " ", o->choices[c]);
        group_setting_text(value, sizeof value, &defaults, i);
        snprintf(help, sizeof help, "%s%s [%s]", o->help, range, value);
        print_row(name, help);
    }
    puts("\nFor embeddings, head and vectors the same with embed-, head- or vector- before the name.");
}

bool command_help(const char *topic, Error *err) {
    if (!topic) {
        print_general();
    } else if (strcmp(topic, "optimizers") == 0) {
        print_optimizers();
    } else {
        const OptimizerDef *def = optimizer_find(topic, err);
        if (!def) return false;
        print_optimizer(def);
    }
    return true;
}

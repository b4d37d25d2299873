// Options: from the command line and files to a configuration and back.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "run/options/groups.h"

#include <ctype.h>
#include <sys/stat.h>

#include "tests/fixtures/load_config.h"
#include "tests/fixtures/temp_dir.h"

enum { MAX_ARGUMENTS = 32 };

// Loads from words separated by blanks.
static bool load(RunConfig *config, const char *words, Error *err) {
    static char text[2048];
    const char *argv[MAX_ARGUMENTS];
    int argc = 0;
    snprintf(text, sizeof text, "%s", words);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < MAX_ARGUMENTS);
        argv[argc++] = word;
    }
    return load_config(config, argc, argv, err);
}

static void load_ok(RunConfig *config, const char *words) {
    Error err;
    if (!load(config, words, &err)) fail_msg("%s: %s", words, err.text);
}

// Refused, in one line that has `part` in it.
static void load_refused(const char *words, const char *part) {
    static RunConfig config;
    Error err;
    if (load(&config, words, &err)) fail_msg("%s was accepted", words);
    if (!strstr(err.text, part)) fail_msg("%s: \"%s\" is not in \"%s\"", words, part, err.text);
    assert_null(strchr(err.text, '\n'));
}

static double value(const RunConfig *config, ParamGroup group, const char *option) {
    return group_number(&config->groups[group], option);
}

static void test_defaults(void **state) {
    (void)state;
    static RunConfig c;
    load_ok(&c, "");
    assert_int_equal(c.model.n_kv_head, 12);
    assert_int_equal(c.model.head_dim, 64);
    assert_int_equal(c.model.d_ff, 3072);
    assert_int_equal(c.model.vocab_size, 50257);
    assert_int_equal(c.model.vocab_padded, 50304);
    assert_int_equal(c.model.context, 1024);
    assert_int_equal(c.micro_batch, 4);
    load_ok(&c, "--vocab bytes --batch-size 30 --seq-len 512");
    assert_int_equal(c.model.vocab_size, 257);
    assert_int_equal(c.model.vocab_padded, 320);
    assert_int_equal(c.micro_batch, 6); // the largest divisor of 30 that is at most 4096 / 512
    load_ok(&c, "--vocab bytes --batch-size 32 --seq-len 128 --d-model 128 --n-head 2");
    assert_int_equal(c.micro_batch, 8); // d-ff 512: 1024 / 128
    load_ok(&c, "--vocab bytes --batch-size 32 --seq-len 128 --d-model 192 --n-head 2");
    assert_int_equal(c.micro_batch, 32); // 4096 / 128
}

static void test_forms(void **state) {
    (void)state;
    static RunConfig c;
    load_ok(&c,
            "--steps=7 --seed 9 --biases no --no-embed-norm --tied-head no --quiet --clip=0 --sample-prompt=a=b");
    assert_int_equal(c.steps, 7);
    assert_int_equal(c.seed, 9);
    assert_int_equal(c.model.biases, BIASES_NONE);
    assert_false(c.model.tied_head);
    assert_true(c.quiet);
    assert_true(c.clip == 0);
    assert_string_equal(c.sample_prompt, "a=b");
    load_ok(&c, "--steps 5 --steps 6");
    assert_int_equal(c.steps, 6);
    load_ok(&c, "--sample-prompt -5 --optimizer muon --nesterov");
    assert_string_equal(c.sample_prompt, "-5");
    assert_string_equal(group_value(&c.groups[GROUP_HIDDEN], "nesterov").text, "yes");
    load_ok(&c, "--optimizer muon --no-nesterov");
    assert_string_equal(group_value(&c.groups[GROUP_HIDDEN], "nesterov").text, "no");
    load_ok(&c, "--tied-head=off --norm-gain false --optimizer muon --nesterov 0 --no-ema");
    assert_false(c.model.tied_head || c.model.norm_gain);
    assert_string_equal(group_value(&c.groups[GROUP_HIDDEN], "nesterov").text, "no");
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *words, *part;
    } cases[] = {
        {"--step 5", "did you mean 'steps'"},
        {"--no-step 5", "unknown option 'no-step'"},
        {"--embed-beta3 1", "did you mean 'embed-beta1'"},
        {"--zzzzqqqqzzzz 1", "--help"},
        {"steps 5", "unexpected 'steps'"},
        {"-s 5", "two dashes"},
        {"--steps", "needs a value"},
        {"--steps --quiet", "needs a value"},
        {"--steps 0", "at least 1"},
        {"--steps 5x", "whole number"},
        {"--steps 99999999999999999999", "whole number"},
        {"--batch-size 3000000000", "between"},
        {"--clip nan", "number"},
        {"--clip -1", "at least 0"},
        {"--tied-head=maybe", "yes or no"},
        {"--no-tied-head=no", "takes no value"},
        {"--vocab letters", "none, bytes"},
        {"--n-head 7", "--head-dim"},
        {"--micro-batch 3", "does not divide"},
        {"--context 8", "longer than --context"},
        {"--vocab-size 2000000", "vocab-size 2000000: must be between 1 and 1048576"},
        {"--vocab-padded 64", "vocab-padded"},
        {"--optimizer normun", "normuon"},
        {"--optimizer muon --beta2 0.9", "it has lr, momentum"},
        {"--lr -1", "--lr is '-1': it must be a number between 0"},
        {"--embed-lr x", "--embed-lr is 'x'"},
        {"--lr", "needs a value"},
        {"--head-lr 1", "tied"},
        {"--head-optimizer sgd", "tied"},
        {"--schedule wds", "wsd"},
        {"--warmup 1.5", "whole number"},
        {"--warmup -1", "--warmup"},
        {"--cooldown 2", "between 0 and 1"},
        {"--final-lr x", "--final-lr"},
        {"--config /nonexistent/x.conf", "/nonexistent/x.conf"},
        {"--resume /nonexistent/run", "/nonexistent/run"},
        {"--resume /nonexistent/run --config x", "--config"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) load_refused(cases[i].words, cases[i].part);
}

static void test_groups(void **state) {
    (void)state;
    static RunConfig c;
    // The same optimizer everywhere: what is said for the hidden matrices holds for all that say nothing else.
    load_ok(&c,
            "--optimizer adamw --lr 0.5 --beta2 0.7 --embed-lr 0.25 --schedule wsd --warmup 9 --vector-warmup 3");
    assert_true(value(&c, GROUP_HIDDEN, "lr") == 0.5 && value(&c, GROUP_VECTOR, "lr") == 0.5);
    assert_true(value(&c, GROUP_EMBED, "lr") == 0.25 && value(&c, GROUP_EMBED, "beta2") == 0.7);
    assert_int_equal(c.groups[GROUP_EMBED].schedule.kind, SCHEDULE_WSD);
    assert_int_equal(c.groups[GROUP_EMBED].schedule.warmup, 9);
    assert_int_equal(c.groups[GROUP_VECTOR].schedule.warmup, 3);
    // Another one: the others keep their defaults, and the schedule.
    load_ok(&c, "--optimizer muon --lr 0.5 --final-lr 0.1 --tied-head no --head-optimizer sgd --head-lr 2");
    assert_true(value(&c, GROUP_EMBED, "lr") != 0.5);
    assert_string_equal(c.groups[GROUP_EMBED].def->name, "adamw");
    assert_string_equal(c.groups[GROUP_HEAD].def->name, "sgd");
    assert_true(value(&c, GROUP_HEAD, "lr") == 2);
    assert_true(c.groups[GROUP_HEAD].schedule.final == 0.1);
    // The weight decay of gains and biases is only what is given for them.
    load_ok(&c, "--optimizer adamw --weight-decay 0.3");
    assert_true(value(&c, GROUP_EMBED, "weight-decay") == 0.3 && value(&c, GROUP_VECTOR, "weight-decay") == 0);
    load_ok(&c, "--optimizer adamw --weight-decay 0.3 --vector-weight-decay 0.2");
    assert_true(value(&c, GROUP_VECTOR, "weight-decay") == 0.2);
    load_ok(&c, "--optimizer muon --vector-optimizer sgd");
    assert_true(value(&c, GROUP_EMBED, "weight-decay") == 0.1 && value(&c, GROUP_VECTOR, "weight-decay") == 0);
}

static const char *write_conf(const char *name, const char *text) {
    return temp_file(name, text, strlen(text));
}

static void test_file(void **state) {
    (void)state;
    static RunConfig c;
    char words[512];
    const char *path = write_conf("a.conf", "# a comment\n"
                                            "steps = 5   # five\n"
                                            "\n"
                                            "  seed=6\r\n"
                                            "biases = no\n"
                                            "sample-prompt = \" a # \\\"b\\\"\\n\" # quoted\n"
                                            "lr = 0.5\n"
                                            "embed-lr = 0.25\n"
                                            "schedule = linear\n");
    snprintf(words, sizeof words, "--config %s --seed 7", path);
    load_ok(&c, words);
    assert_int_equal(c.steps, 5);
    assert_int_equal(c.seed, 7); // the command line goes before the file
    assert_int_equal(c.model.biases, BIASES_NONE);
    assert_string_equal(c.sample_prompt, " a # \"b\"\n");
    assert_true(value(&c, GROUP_HIDDEN, "lr") == 0.5);
    assert_string_equal(c.note, "");
    // The file's rate is AdamW's; another optimizer starts from its own, in the file's schedule, and that is said.
    snprintf(words, sizeof words, "--config %s --optimizer muon", path);
    load_ok(&c, words);
    assert_true(value(&c, GROUP_HIDDEN, "lr") != 0.5);
    assert_true(value(&c, GROUP_EMBED, "lr") == 0.25);
    assert_int_equal(c.groups[GROUP_HIDDEN].schedule.kind, SCHEDULE_LINEAR);
    assert_non_null(strstr(c.note, "adamw"));
}

// A rate given for the hidden matrices alone is said to concern only these, unless the other groups follow it, have a
// rate of their own, or have no parameters.
static void test_note_on_other_rates(void **state) {
    (void)state;
    static RunConfig c;
    static const struct {
        const char *words, *note;
    } cases[] = {
        {"--optimizer muon --lr 0.01", "--lr is the rate of the hidden matrices only; the others have defaults: "
                                       "--embed-lr 0.0003, --vector-lr 0.0003"},
        {"--optimizer muon --lr 0.01 --no-tied-head --biases no --no-norm-gain --norm rmsnorm --head-optimizer sgd",
         "--lr is the rate of the hidden matrices only; the others have defaults: --embed-lr 0.0003, --head-lr "
         "0.1"},
        {"--optimizer muon --lr 0.01 --embed-lr 0.02", ""},
        {"--optimizer muon --lr 0.01 --embed-optimizer muon", ""},
        {"--optimizer muon", ""},
        {"--lr 0.01", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        load_ok(&c, cases[i].words);
        assert_string_equal(c.note, cases[i].note);
    }
}

static void test_file_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"steps = 5\nstep = 6\n", "b.conf:2: unknown option 'step'; did you mean 'steps'"},
        {"steps = 5\nsteps = 6\n", "b.conf:1"},
        {"steps 5\n", "name = value"},
        {"steps = x\n", "b.conf:1: --steps is 'x'"},
        {"\nlr = x\n", "b.conf:2: --lr"},
        {"schedule = x\n", "b.conf:1: --schedule"},
        {"optimizer = x\n", "b.conf:1: --optimizer"},
        {"head-lr = 1\n", "b.conf:1: --head-lr"},
        {"sample-prompt = \"x\n", "quotes"},
        {"sample-prompt = \"x\\y\"\n", "quotes"},
        {"out = x\n", "only allowed on the command line"},
        {"overwrite = yes\n", "only allowed on the command line"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[512];
        snprintf(words, sizeof words, "--config %s", write_conf("b.conf", cases[i].text));
        load_refused(words, cases[i].part);
    }
}

static char *printed(const RunConfig *config) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    config_print(out, config);
    fclose(out);
    return text;
}

static void test_round_trip(void **state) {
    (void)state;
    static const char *const cases[] = {
        "",
        "--lr 0.1234567890123456 --cooldown 0.3 --schedule wsd --optimizer normuon --form official --no-ema",
        "--tied-head no --head-optimizer sgd --head-lr 3e-300 --vocab bytes --train-data d/*.bin --clip 0.1",
        "--optimizer muon --vector-schedule cosine --vector-final-lr 0.33333333333333331 --on-bad-step skip",
    };
    static RunConfig a, b;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        load_ok(&a, cases[i]);
        if (i == 0) snprintf(a.sample_prompt, sizeof a.sample_prompt, " #\"\\\n\t x ");
        char *first = printed(&a), words[512];
        snprintf(words, sizeof words, "--config %s", write_conf("c.conf", first));
        load_ok(&b, words);
        char *second = printed(&b);
        assert_string_equal(first, second);
        assert_string_equal(a.sample_prompt, b.sample_prompt);
        for (int g = 0; g < GROUP_COUNT; g++)
            assert_memory_equal(&a.groups[g].values, &b.groups[g].values, sizeof a.groups[g].values);
        free(first);
        free(second);
    }
}

static void test_every_option_prints_and_reads(void **state) {
    (void)state;
    static RunConfig c;
    Error err;
    load_ok(&c, "");
    for (int i = 0; i < run_options.n_specs; i++) {
        const OptionSpec *spec = &run_options.specs[i];
        char text[OPTION_TEXT_MAX];
        option_text(text, sizeof text, &c, spec);
        assert_true(option_set(&c, spec, text, &err));
        assert_true(strlen(spec->help) > 5);
        for (const char *p = spec->name; *p; p++) assert_true(islower((unsigned char)*p) || *p == '-');
        for (int j = 0; j < i; j++) assert_string_not_equal(spec->name, run_options.specs[j].name);
        // No name means two things.
        Settings settings = {0};
        const OptionNames optimizers = {.table = &(OptionTable){spec, 0}, .optimizers = true};
        assert_false(settings_add(&settings, &optimizers, spec->name, "", "", &err));
    }
}

static void test_resume_overrides(void **state) {
    (void)state;
    static RunConfig c;
    char words[512];
    load_ok(&c, "--steps 50 --optimizer muon --lr 0.01");
    char *text = printed(&c);
    assert_int_equal(mkdir(temp_path("run"), 0777), 0);
    write_conf("run/config.conf", text);
    free(text);
    const char *run = temp_path("run");
    snprintf(words, sizeof words, "--resume %s --keep 7 --on-bad-step skip --max-time 5 --steps 50", run);
    load_ok(&c, words);
    assert_int_equal(c.keep, 7);
    assert_int_equal(c.steps, 50);
    assert_string_equal(c.groups[GROUP_HIDDEN].def->name, "muon");
    assert_true(value(&c, GROUP_HIDDEN, "lr") == 0.01);
    // Whether a run may be lengthened, or resumed at an older step, is decided once its checkpoint is known.
    snprintf(words, sizeof words, "--resume %s@30 --steps 60 --overwrite", run);
    load_ok(&c, words);
    assert_true(c.steps == 60 && c.resume_step == 30 && c.overwrite);
    assert_string_equal(c.resume, run);
    static const char *const refused[][2] = {{"--batch-size 60", "the run has 8"},
                                             {"--seed 2", "--seed 2 cannot"},
                                             {"--lr 0.02", "--lr"},
                                             {"--out x", "--out"},
                                             {"--no-tied-head", "the run has yes"}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(words, sizeof words, "--resume %s %s", run, refused[i][0]);
        load_refused(words, refused[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_note_on_other_rates),
        cmocka_unit_test(test_file_refused),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_option_prints_and_reads),
        cmocka_unit_test(test_resume_overrides),
    };
    return cmocka_run_group_tests(tests, temp_dir_create, temp_dir_remove);
}

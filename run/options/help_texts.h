// run/options/help_texts.h - help of the options that several commands have, in the same words.
#ifndef POLAR_RUN_OPTIONS_HELP_TEXTS_H
#define POLAR_RUN_OPTIONS_HELP_TEXTS_H

#define HELP_CONFIG                                                                                                \
    "file of options, one 'name = value' per line; may be repeated, later files override earlier ones"
#define HELP_OUT_RUN "directory of the run; it is created"
#define HELP_OVERWRITE_RUN "replace an existing run in --out"
#define HELP_DRY_RUN "print the plan and stop"
#define HELP_DEVICE "cpu, cuda, cuda:N, or auto: cuda if there is a GPU"
#define HELP_THREADS "CPU threads; 0: all cores available to the process"
#define HELP_STEPS "optimizer steps"
#define HELP_CLIP "clip gradients to this global norm; 0: off"
#define HELP_VOCAB_OF_RUN "path of the run's vocabulary, if it has moved"
#define HELP_RENDEZVOUS "where rank 0 listens, for ranks on several hosts; default: as the launcher says"
#define HELP_RENDEZVOUS_TIMEOUT "seconds to wait until all ranks have come"
#define HELP_HELP "print this help"
#endif

// run/hf/init_from.h - --init-from DIR: training begins with the network of a run or of a Hugging Face directory.
#ifndef POLAR_RUN_HF_INIT_FROM_H
#define POLAR_RUN_HF_INIT_FROM_H

#include "model/model.h"
#include "run/options/config.h"

// Where the arguments or the file say --init-from DIR: adds the options of DIR's network to the arguments, as far as they
// are not given; one that is given and another than DIR's is an error. Does nothing without --init-from.
bool init_from_options(ConfigSources *sources, Error *err);

// Reads the weights of config->init_from into the model; the network there must still be the configured one.
bool init_from_weights(Model *model, Stream *stream, const RunConfig *config, Error *err);
#endif

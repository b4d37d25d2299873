// run/hf/init_from.h - --init-from DIR: training starts from the model of a run or of a Hugging Face directory.
#ifndef POLAR_RUN_HF_INIT_FROM_H
#define POLAR_RUN_HF_INIT_FROM_H

#include "model/model.h"
#include "run/options/config.h"

// If --init-from DIR is set, adds the model options of DIR that are not given to the arguments. A given option that
// contradicts DIR is an error. Does nothing without --init-from.
bool init_from_options(ConfigSources *sources, Error *err);

// Reads the weights of config->init_from into the model. Its configuration must still match config->model.
bool init_from_weights(Model *model, Stream *stream, const RunConfig *config, Error *err);
#endif

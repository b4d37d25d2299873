// What tests read back from a model on a device.
#ifndef POLAR_TESTS_READ_MODEL_H
#define POLAR_TESTS_READ_MODEL_H

#include "model/model.h"

// The sum of the losses since the last reset.
static inline double read_loss(const Model *model, Stream *stream) {
    double loss;
    device_copy(stream, &loss, model->loss, sizeof loss);
    stream_synchronize(stream);
    return loss;
}

// A parameter's master weights, as they are stored.
static inline void read_param(void *values, const Model *model, Stream *stream, const Param *p) {
    size_t element = type_size(model->acc_type);
    device_copy(stream, values, (const char *)model->master + (size_t)p->offset * element,
                (size_t)param_elements(p) * element);
    stream_synchronize(stream);
}
#endif

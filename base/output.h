// base/output.h - standard output that arrived or is reported as lost.
#ifndef POLAR_BASE_OUTPUT_H
#define POLAR_BASE_OUTPUT_H

#include "base/error.h"

// Lets writes to a closed pipe or beyond the limit of file size fail instead of ending the process by a signal.
// Call it first.
void output_ignore_signals(void);

// Flushes standard output. Returns false if anything written to it was lost: a full disk, a closed pipe.
bool output_flush(Error *err);
#endif

// device/cpu/lapack.h - the solvers of device/device.h by LAPACK, which is part of OpenBLAS. Private to device/.
#ifndef POLAR_DEVICE_CPU_LAPACK_H
#define POLAR_DEVICE_CPU_LAPACK_H

#include "device/backend.h"

// Looks up the LAPACK functions; call after cpu_blas_load.
void cpu_lapack_load(void);
bool cpu_can_solve(void);
void cpu_solver_free(void *solver);
void cpu_qr_q(Stream *stream, void *a, Type type, int64_t m, int64_t n);
void cpu_cholesky_solve_right(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n);
void cpu_trtri(Stream *stream, void *r, Type type, int64_t n);
void cpu_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n);
#endif

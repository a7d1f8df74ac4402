/* Vectors as wide as the processor's, of the real numbers that a source is compiled for. */

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#include <omp.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
#ifndef VECTOR_BYTES
#ifdef __AVX512F__
#define VECTOR_BYTES 64
#else
#define VECTOR_BYTES 32
#endif
#endif
#define LANES ((long)(VECTOR_BYTES / sizeof(REAL)))

typedef REAL vector __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL loose __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

static inline vector load(const REAL *from) { return *(const loose *)from; }
static inline void store(REAL *to, vector value) { *(loose *)to = value; }

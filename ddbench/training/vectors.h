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

#ifdef HALF
_Static_assert(sizeof(REAL) == 4, "a word of two bf16 is a float");
#if defined(__AVX512BF16__) && VECTOR_BYTES == 64
#define MULTIPLIES_HALVES /* the processor does */
#endif

typedef unsigned bits __attribute__((vector_size(VECTOR_BYTES)));
typedef unsigned short shorts __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef unsigned short loose_shorts __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));

/* The nearest bf16, of two as near the even one. */
static inline shorts halves(vector from)
{
#ifdef MULTIPLIES_HALVES
    return (shorts)_mm512_cvtneps_pbh((__m512)from);
#else
    bits whole = (bits)from;
    return __builtin_convertvector((whole + 0x7fff + (whole >> 16 & 1)) >> 16, shorts);
#endif
}
#endif

/* What images and their gradients are kept in: with MAPS, bf16. */
#ifdef MAPS
typedef unsigned short map;
static inline vector load_map(const map *from) { return (vector)(__builtin_convertvector(*(const loose_shorts *)from, bits) << 16); }
static inline void store_map(map *to, vector value) { *(loose_shorts *)to = halves(value); }
#else
typedef REAL map;
static inline vector load_map(const map *from) { return load(from); }
static inline void store_map(map *to, vector value) { store(to, value); }
#endif

/* Numbers are worked on LANES at a time where the target has vectors, else one by one. Weights lie
   in panels of 16 lanes, whatever the width of a vector. */
#if defined(@NAME@_NO_VECTORS) || !(defined(__GNUC__) || defined(__clang__))
#define LANES 1
#elif defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#elif defined(__SSE2__) || defined(__ARM_NEON) || defined(__wasm_simd128__) || \
    defined(__ALTIVEC__) || defined(__riscv_vector)
#define LANES 4
#else
#define LANES 1
#endif

/* Sums that are kept in registers: so many rows times so many vectors, where a vector of a result has
   one, three or four of them; and rows of a dense layer, where it has three or four vectors at once.
   There are 32 registers, or 16. */
#if LANES == 16
#define ROWS_OF_1 8
#define VECTORS_OF_1 2
#define ROWS_OF_3 8
#define VECTORS_OF_3 1
#define ROWS_OF_4 6
#define VECTORS_OF_4 1
#define GATES_AT_ONCE 4
#define ROWS_BY_3 8
#define ROWS_BY_4 6
#define VECTORS_BY_4 4
#elif LANES == 8
#define ROWS_OF_1 6
#define VECTORS_OF_1 2
#define ROWS_OF_3 4
#define VECTORS_OF_3 1
#define ROWS_OF_4 4
#define VECTORS_OF_4 1
#define GATES_AT_ONCE 2
#define ROWS_BY_3 4
#define ROWS_BY_4 6
#define VECTORS_BY_4 2
#elif defined(__aarch64__)
#define ROWS_OF_1 4
#define VECTORS_OF_1 4
#define ROWS_OF_3 2
#define VECTORS_OF_3 4
#define ROWS_OF_4 2
#define VECTORS_OF_4 2
#define GATES_AT_ONCE 4
#define ROWS_BY_3 6
#define ROWS_BY_4 6
#define VECTORS_BY_4 4
#else
#define ROWS_OF_1 2
#define VECTORS_OF_1 4
#define ROWS_OF_3 1
#define VECTORS_OF_3 4
#define ROWS_OF_4 1
#define VECTORS_OF_4 2
#define GATES_AT_ONCE 2
#define ROWS_BY_3 3
#define ROWS_BY_4 2
#define VECTORS_BY_4 4
#endif

#if LANES == 1
#define INLINE static inline
#define UNROLLED
typedef float vector;
#define LOAD(from) (*(from))
#define STORE(to, value) (*(to) = (value))
#define CHOSEN(test, yes, no) ((test) ? (yes) : (no))
#define ALL(number) (number)
#else
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
typedef float vector __attribute__((vector_size(4 * LANES)));
typedef int32_t mask __attribute__((vector_size(4 * LANES)));
typedef float unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define LOAD(from) (*(const unaligned *)(from))
#define STORE(to, value) (*(unaligned *)(to) = (value))
#define CHOSEN(test, yes, no) \
    ((vector)(((mask)(test) & (mask)(yes)) | (~(mask)(test) & (mask)(no))))
#define ALL(number) ((number) - (vector){0.0f})
#endif
#define EACH(index, count) UNROLLED for (int index = 0; index < (count); index++)

/* A model by pe_deploy; model.h says how to call it.

   -DMODEL_NO_VECTORS leaves out the compiler's vectors; -DMODEL_MAIN makes a program that reads
   ids from its standard input. Made from a graph: to change the model, export it again. */
#include "model.h"

#define MAX_LENGTH 10
#define BLOCK 48 /* rows that are answered at once */
#define TILE 48 /* rows times steps that are worked on at once */
#if defined(__GNUC__) || defined(__clang__)
#define INFINITE __builtin_inff()
#else
#define INFINITE ((float)(1e300 * 1e300))
#endif

/* Numbers are worked on LANES at a time where the target has vectors, else one by one. Weights lie
   in panels of 16 lanes, whatever the width of a vector. */
#if defined(MODEL_NO_VECTORS) || !(defined(__GNUC__) || defined(__clang__))
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

/* Adds a number to a sum of many, and keeps what rounding takes off it for the next one (Kahan). */
INLINE void add_to(float *sum, float *lost, float number)
{
    const float added = number - *lost, total = *sum + added;
    *lost = (total - *sum) - added;
    *sum = total;
}

/* Inputs whose weights, of some vectors, stay in the nearest cache while all rows are multiplied. */
#define DENSE_PART 96

/* out = x * weights + bias for R rows and V vectors, of some of the inputs: each weight is loaded once
   for R rows. `weights` are those of one panel from the first of these lanes on, [inputs][panel]. */
INLINE void dense_block(const int R, const int V, const size_t inputs, const size_t panel,
                        const size_t x_stride, const size_t out_stride, const size_t begin,
                        const float *weights, const float *bias, const float *x, float *out)
{
    vector sum[8][4];
    const size_t left = inputs - begin, end = begin + (left < DENSE_PART ? left : DENSE_PART);
    EACH(v, V) EACH(r, R) {
        const float *const so_far = begin > 0 ? out + (size_t)r * out_stride : bias;
        sum[r][v] = LOAD(so_far + v * LANES);
    }
    for (size_t k = begin; k < end; k++) {
        vector weight[4];
        EACH(v, V) weight[v] = LOAD(weights + k * panel + v * LANES);
        EACH(r, R) {
            float number = x[(size_t)r * x_stride + k];
            EACH(v, V) sum[r][v] += weight[v] * number;
        }
    }
    EACH(v, V) EACH(r, R) STORE(out + (size_t)r * out_stride + v * LANES, sum[r][v]);
}

#define DENSE_ROWS(R, V) \
    for (; row + (R) <= rows; row += (R)) \
        dense_block(R, V, inputs, panel, x_stride, out_stride, begin, w, b, x + row * x_stride, \
                    out + row * out_stride + lane)

/* All rows, panel by panel, V vectors at a time: a panel's weights stay near. */
#define DENSE_LANES(R, V) \
    for (size_t lane = 0; lane < lanes; lane += (V) * LANES) { \
        const float *const w = weights + lane / panel * panel * inputs + lane % panel; \
        const float *const b = bias + lane; \
        for (size_t begin = 0; begin < inputs; begin += DENSE_PART) { \
            size_t row = 0; \
            DENSE_ROWS(R, V); \
            DENSE_ROWS(2, V); \
            DENSE_ROWS(1, V); \
        } \
    }

#define DENSE(NAME, INPUTS, PANEL, NUMBERS, X_STRIDE, OUT_STRIDE, WEIGHTS, BIAS) \
    static void NAME(size_t rows, const float *x, float *out) \
    { \
        const size_t inputs = INPUTS, panel = PANEL, lanes = NUMBERS; \
        const size_t x_stride = X_STRIDE, out_stride = OUT_STRIDE; \
        const float *const weights = WEIGHTS, *const bias = BIAS; \
        if (PANEL == 48) \
            DENSE_LANES(ROWS_BY_3, 3) \
        else if (PANEL == 64) \
            DENSE_LANES(ROWS_BY_4, VECTORS_BY_4) \
        else \
            DENSE_LANES(8, 1) \
    }

static const _Alignas(64) float lookup0_table[48] = {
    -1.12583983f, -1.1523602f, -0.250578582f, -0.433878809f, 0.848710358f, 0.692009151f, -0.31601277f, -2.11521935f,
    0.322274923f, -1.26333475f, 0.349983186f, 0.30813393f, 0.119841509f, 1.2376579f, 1.11677718f, -0.247278154f,
    -1.35265374f, -1.6959312f, 0.566650629f, 0.793508351f, 0.598839462f, -1.55509508f, -0.34136039f, 1.85300612f,
    0.750189483f, -0.585497558f, -0.173396751f, 0.183477938f, 1.38936615f, 1.58633423f, 0.946298361f, -0.843676746f,
    -0.613583088f, 0.0315927416f, -0.492676973f, 0.248414755f, 0.439695835f, 0.112411186f, 0.64079237f, 0.441156268f,
    -0.102309652f, 0.792443991f, -0.289667696f, 0.0525074862f, 0.522860467f, 2.30220532f, -1.46889389f, -1.58668876f};

static const _Alignas(64) float dense0_weights[64] = {
    -0.221747518f, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    -0.0180411935f, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0.31978035f, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0.497066557f, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0};

static const _Alignas(64) float dense0_bias[16] = {
    0.198441088f, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0};

DENSE(dense0_of, 4, 16, 16, 16, 16, dense0_weights, dense0_bias)

static void answer(const int64_t *ids, size_t rows, size_t length, float *logits)
{
    _Alignas(64) float mean_0[(BLOCK) * 16];
    _Alignas(64) float mean_0_lost[(BLOCK) * 16];
    _Alignas(64) float lookup0[(TILE) * 16];
    _Alignas(64) float dense0[(BLOCK) * 16];
    for (size_t j = 0; j < rows * 16; j++) mean_0[j] = 0.0f;
    for (size_t j = 0; j < rows * 16; j++) mean_0_lost[j] = 0.0f;
    {
        const size_t most = TILE / rows;
        for (size_t first = 0; first < length;) {
            const size_t rest = length - first;
            const size_t steps = rest < most ? rest : most;
            for (size_t s = 0, i = 0; s < steps; s++) {
                for (size_t r = 0; r < rows; r++, i++) {
                    const float *const row = lookup0_table + (size_t)ids[r * length + (first + s)] * 4;
                    for (size_t j = 0; j < 4; j++) (lookup0 + i * 16)[j] = row[j];
                }
            }
            for (size_t s = 0, i = 0; s < steps; s++) {
                for (size_t r = 0; r < rows; r++, i++) {
                    for (size_t j = 0; j < 4; j++) add_to(&mean_0[r * 16 + j], &mean_0_lost[r * 16 + j], lookup0[i * 16 + j]);
                }
            }
            first += steps;
        }
    }
    for (size_t j = 0; j < rows * 16; j++) mean_0[j] /= (float)length;
    dense0_of(rows, mean_0, dense0);
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < 1; j++) logits[r * 1 + j] = dense0[r * 16 + 0];
    }
}

/* What is wrong with an input. All of it is seen before anything is written. */
static int checked(const int64_t *ids, size_t rows, size_t length, const float *logits)
{
    if (ids == NULL || logits == NULL) return MODEL_NULL_POINTER;
    if (length == 0) return MODEL_SEQUENCE_EMPTY;
    if (length > 10) return MODEL_SEQUENCE_TOO_LONG;
    uint64_t wrong = 0;
    for (size_t at = 0; at < rows * length; at++)
        wrong |= (uint64_t)((uint64_t)ids[at] >= 12);
    if (wrong != 0) return MODEL_ID_OUT_OF_RANGE;
    return MODEL_OK;
}

const char *const model_labels[MODEL_LABEL_COUNT] = {
    "0",
    "1"};

int model_predict(const int64_t *ids, size_t rows, size_t length, float *logits)
{
    if (rows == 0) return MODEL_OK;
    const int code = checked(ids, rows, length, logits);
    if (code != MODEL_OK) return code;
    for (size_t row = 0; row < rows; row += BLOCK) {
        const size_t some = rows - row < BLOCK ? rows - row : BLOCK;
        answer(ids + row * length, some, length, logits + row * 1);
    }
    return MODEL_OK;
}

const char *model_message(int code)
{
    switch (code) {
    case MODEL_OK: return "answered";
    case MODEL_SEQUENCE_EMPTY: return "a row has no ids";
    case MODEL_SEQUENCE_TOO_LONG: return "a row has more than 10 ids";
    case MODEL_SEQUENCE_TOO_SHORT: return "a row has fewer than 1 ids";
    case MODEL_ID_OUT_OF_RANGE: return "an id is outside 0 to 11";
    case MODEL_PADDING_NOT_ON_THE_RIGHT: return "padding stands before a token";
    case MODEL_ROW_TOO_SHORT: return "a row has fewer than 1 tokens before its padding";
    case MODEL_NULL_POINTER: return "ids or logits are NULL";
    default: return "no such code";
    }
}

#ifdef MODEL_MAIN
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Reads lines of ids with spaces between them; writes the logits of each line. */
int main(void)
{
    static int64_t ids[MAX_LENGTH + 1];
    static float logits[1];
    int c = getchar();
    for (unsigned long line = 1; c != EOF; line++) {
        size_t length = 0;
        while (c != '\n' && c != EOF) {
            char text[24];
            size_t used = 0;
            for (; c == ' ' || c == '\t' || c == '\r'; c = getchar()) {}
            for (; c != ' ' && c != '\t' && c != '\r' && c != '\n' && c != EOF; c = getchar())
                if (used < sizeof text - 1) text[used++] = (char)c;
            if (used == 0) continue;
            char *end;
            text[used] = '\0';
            errno = 0;
            long long id = strtoll(text, &end, 10);
            if (errno != 0 || *end != '\0') {
                fprintf(stderr, "line %lu: %s is no id\n", line, text);
                return 1;
            }
            if (length <= MAX_LENGTH) ids[length++] = (int64_t)id;
        }
        int code = model_predict(ids, 1, length, logits);
        if (code != MODEL_OK) {
            fprintf(stderr, "line %lu: %s\n", line, model_message(code));
            return 1;
        }
        for (size_t at = 0; at < 1; at++)
            printf(at > 0 ? " %.9g" : "%.9g", (double)logits[at]);
        putchar('\n');
        if (c == '\n') c = getchar();
    }
    return 0;
}
#endif

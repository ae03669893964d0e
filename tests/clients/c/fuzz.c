/* fuzz SEED INPUTS: random inputs, right and wrong ones, in buffers that end where they must.

   A sanitizer sees what is read or written beyond them. Here is seen whether the model refuses just
   what it must, whether an error leaves the answer as it was, and whether a row answers in a batch
   as it does alone. IT_PREDICT, IT_MESSAGE, IT_VOCAB_SIZE, IT_MIN_LENGTH, IT_MAX_LENGTH, IT_PAD_ID (-1 for none),
   IT_OUTPUTS and IT_PER_TOKEN are given on the command line of the compiler. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define MOST_ROWS 40
#define UNTOUCHED 0x7fc0deadu /* a NaN that no model computes */

static uint64_t state;

static uint64_t draw(void) { /* xorshift64* */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(2685821657736338717);
}

static uint64_t below(uint64_t end) { return (draw() >> 11) % end; }

static void fail(const char *what, size_t rows, size_t length, const int64_t *ids) {
    fprintf(stderr, "%s: %zu rows of %zu ids:", what, rows, length);
    for (size_t i = 0; ids && i < rows * length && i < 1000; ++i) fprintf(stderr, " %" PRId64, ids[i]);
    fprintf(stderr, "\n");
    abort();
}

static int64_t token(void) {
    const int64_t id = (int64_t)below(IT_VOCAB_SIZE - (IT_PAD_ID >= 0 ? 1 : 0));
    return IT_PAD_ID >= 0 && id >= IT_PAD_ID ? id + 1 : id;
}

static int64_t strange(void) {
    static const int64_t known[] = {
        -1, IT_VOCAB_SIZE, IT_VOCAB_SIZE + 1, -IT_VOCAB_SIZE, INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX,
        INT64_C(1) << 32, (INT64_C(1) << 32) + 1, -(INT64_C(1) << 32), INT64_MIN + 1, IT_PAD_ID};
    const uint64_t which = below(sizeof known / sizeof known[0] + 2);
    return which < sizeof known / sizeof known[0] ? known[which] : (int64_t)draw();
}

static void fill(int64_t *ids, size_t rows, size_t length) {
    for (size_t row = 0; row < rows; ++row) {
        size_t tokens = length;
        if (IT_PAD_ID >= 0 && below(2)) tokens = (size_t)below(length + 1);
        if (tokens < IT_MIN_LENGTH && below(16)) tokens = length; /* seldom too short */
        for (size_t at = 0; at < length; ++at)
            ids[row * length + at] = at < tokens ? token() : IT_PAD_ID;
    }
    if (rows * length == 0 || below(2)) return;
    for (uint64_t i = 1 + below(3); i; --i) {
        int64_t *const place = ids + below(rows * length);
        *place = strange();
    }
}

static int is_right(const int64_t *ids, size_t rows, size_t length) {
    if (length < IT_MIN_LENGTH || length < 1 || length > IT_MAX_LENGTH) return 0;
    for (size_t row = 0; row < rows; ++row) {
        size_t tokens = 0;
        for (size_t at = 0; at < length; ++at) {
            const int64_t id = ids[row * length + at];
            if (id < 0 || id >= IT_VOCAB_SIZE) return 0;
            if (id == IT_PAD_ID) continue;
            if (tokens != at) return 0; /* behind padding */
            ++tokens;
        }
        if (tokens < 1 || tokens < IT_MIN_LENGTH) return 0;
    }
    return 1;
}

static size_t some_length(void) {
    static const size_t known[] = {
        0, IT_MAX_LENGTH + 1, 2 * IT_MAX_LENGTH, IT_MIN_LENGTH - 1, 100000, SIZE_MAX, SIZE_MAX / 8 + 1,
        (size_t)1 << 31};
    if (below(8)) return 1 + (size_t)below(IT_MAX_LENGTH);
    return known[below(sizeof known / sizeof known[0])];
}

/* A buffer that begins anywhere that its kind may begin, and whose end is that of its memory. */
static void *exactly(size_t count, size_t size, void **memory) {
    const size_t before = (size_t)below(4) * size;
    *memory = malloc(before + count * size);
    if (!*memory) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    return (char *)*memory + before;
}

static void check_alone(const int64_t *ids, size_t rows, size_t length, const float *logits) {
    const size_t each = (size_t)IT_OUTPUTS * (IT_PER_TOKEN ? length : 1);
    const size_t row = (size_t)below(rows);
    void *first, *second;
    int64_t *own = exactly(length, sizeof *own, &first);
    float *alone = exactly(each, sizeof *alone, &second);
    memcpy(own, ids + row * length, length * sizeof *own);
    if (IT_PREDICT(own, 1, length, alone)) fail("refused alone", 1, length, own);
    for (size_t i = 0; i < each; ++i) {
        if (IT_PER_TOKEN && own[i / IT_OUTPUTS] == IT_PAD_ID) break; /* what answers padding is no answer */
        const float given = logits[row * each + i], off = given - alone[i];
        const float allowed = 1e-4f * (1 + (given < 0 ? -given : given));
        if (!(off <= allowed && -off <= allowed)) fail("another answer alone", 1, length, own);
    }
    free(first);
    free(second);
}

static int try_one(void) {
    const size_t length = some_length();
    const int fits = length <= IT_MAX_LENGTH;
    size_t rows = (size_t)below(below(2) ? 4 : MOST_ROWS);
    if (!fits && below(2)) rows = (size_t)draw(); /* what is refused by its length is not read */
    const size_t held = fits ? rows * length : 0;
    const size_t count = fits ? rows * (size_t)IT_OUTPUTS * (IT_PER_TOKEN ? length : 1) : 0;
    void *first, *second;
    int64_t *ids = exactly(held, sizeof *ids, &first);
    float *logits = exactly(count, sizeof *logits, &second);
    if (fits) fill(ids, rows, length);
    for (size_t i = 0; i < count; ++i) {
        const uint32_t untouched = UNTOUCHED;
        memcpy(logits + i, &untouched, sizeof untouched);
    }
    const int which = (int)below(64); /* now and then, a pointer is null */
    const int null = which < 2 && rows;
    const int code =
        IT_PREDICT(which == 0 ? NULL : ids, rows, length, which == 1 ? NULL : logits);
    const int right = rows == 0 || (fits && !null && is_right(ids, rows, length));
    if (!IT_MESSAGE(code) || !*IT_MESSAGE(code)) fail("a code without words", rows, length, NULL);
    if ((code == 0) != right) fail(code ? "refused" : "answered", rows, length, fits ? ids : NULL);
    for (size_t i = 0; i < count; ++i) {
        uint32_t bits;
        memcpy(&bits, logits + i, sizeof bits);
        if (code ? bits != UNTOUCHED : (bits & 0x7f800000u) == 0x7f800000u)
            fail(code ? "written to, and refused" : "not finite", rows, length, ids);
    }
    if (!code && rows && below(4) == 0) check_alone(ids, rows, length, logits);
    free(first);
    free(second);
    return code == 0;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    state = strtoull(argv[1], NULL, 10) * 2 + 1;
    for (int i = 0; i < 20; ++i) draw();
    const uint64_t inputs = strtoull(argv[2], NULL, 10);
    uint64_t answered = 0;
    for (uint64_t i = 0; i < inputs; ++i) answered += (uint64_t)try_one();
    printf("%" PRIu64 " inputs, %" PRIu64 " answered, %" PRIu64 " refused\n", inputs, answered,
           inputs - answered);
    return 0;
}

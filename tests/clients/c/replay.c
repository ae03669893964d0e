/* Answers the inputs that stand on standard input, as a program that was given model.c does.

   Of each input: rows and length, uint64; the ids, int64. Of each answer: the code, int64; how many
   numbers there are, uint64; the numbers, float. All of this machine's byte order.
   IT_PREDICT, IT_OUTPUTS and IT_PER_TOKEN are given on the command line of the compiler. */
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

static int taken(void *place, size_t size, size_t count) {
    return fread(place, size, count, stdin) == count;
}

int main(void) {
    uint64_t shape[2];
    while (taken(shape, sizeof shape[0], 2)) {
        const size_t rows = (size_t)shape[0], length = (size_t)shape[1];
        const size_t count = rows * (size_t)IT_OUTPUTS * (IT_PER_TOKEN ? length : 1);
        int64_t *ids = malloc(rows * length * sizeof *ids + 1);
        float *logits = malloc(count * sizeof *logits + 1);
        if (!ids || !logits || !taken(ids, sizeof *ids, rows * length)) return 1;
        const int64_t code = IT_PREDICT(ids, rows, length, logits);
        const uint64_t answered = code ? 0 : count;
        fwrite(&code, sizeof code, 1, stdout);
        fwrite(&answered, sizeof answered, 1, stdout);
        fwrite(logits, sizeof *logits, (size_t)answered, stdout);
        free(ids);
        free(logits);
    }
    return fflush(stdout) != 0;
}

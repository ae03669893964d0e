/* A model by pe_deploy: from ids of tokens to logits, in plain C11. */
#ifndef TAGGER_H
#define TAGGER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TAGGER_VOCAB_SIZE 21 /* ids are 0 to one less */
#define TAGGER_MIN_LENGTH 1 /* ids of a row */
#define TAGGER_MAX_LENGTH 18
#define TAGGER_PAD_ID 0 /* fills short rows, on their right */
#define TAGGER_OUTPUTS 3 /* logits of a token */
#define TAGGER_PER_TOKEN 1
#define TAGGER_LABEL_COUNT 3
#define TAGGER_STACK_BYTES 148992 /* the most that a call takes, by -O1 to -O3 */

/* What the outputs mean; of one logit, its two sides. */
extern const char *const tagger_labels[TAGGER_LABEL_COUNT];

enum tagger_code {
    TAGGER_OK = 0,
    TAGGER_SEQUENCE_EMPTY,
    TAGGER_SEQUENCE_TOO_LONG,
    TAGGER_SEQUENCE_TOO_SHORT,
    TAGGER_ID_OUT_OF_RANGE,
    TAGGER_PADDING_NOT_ON_THE_RIGHT,
    TAGGER_ROW_TOO_SHORT,
    TAGGER_NULL_POINTER
};

/* A code in words. */
const char *tagger_message(int code);

/* Answers ids[rows][length] with logits[rows][length][TAGGER_OUTPUTS].

   Whatever the ids are, nothing is read or written outside these arrays. Where the answer is not
   TAGGER_OK, nothing is written. No rows are answered with nothing. It allocates nothing and keeps
   nothing, so threads may call it at once. */
int tagger_predict(const int64_t *ids, size_t rows, size_t length, float *logits);

#ifdef __cplusplus
}
#endif
#endif

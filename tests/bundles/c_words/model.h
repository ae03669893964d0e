/* A model by pe_deploy: from ids of tokens to logits, in plain C11. */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MODEL_VOCAB_SIZE 21 /* ids are 0 to one less */
#define MODEL_MIN_LENGTH 1 /* ids of a row */
#define MODEL_MAX_LENGTH 40
#define MODEL_PAD_ID 0 /* fills short rows, on their right */
#define MODEL_OUTPUTS 3 /* logits of a row */
#define MODEL_PER_TOKEN 0
#define MODEL_LABEL_COUNT 3
#define MODEL_STACK_BYTES 41664 /* the most that a call takes, by -O1 to -O3 */

/* What the outputs mean; of one logit, its two sides. */
extern const char *const model_labels[MODEL_LABEL_COUNT];

enum model_code {
    MODEL_OK = 0,
    MODEL_SEQUENCE_EMPTY,
    MODEL_SEQUENCE_TOO_LONG,
    MODEL_SEQUENCE_TOO_SHORT,
    MODEL_ID_OUT_OF_RANGE,
    MODEL_PADDING_NOT_ON_THE_RIGHT,
    MODEL_ROW_TOO_SHORT,
    MODEL_NULL_POINTER
};

/* A code in words. */
const char *model_message(int code);

/* Answers ids[rows][length] with logits[rows][MODEL_OUTPUTS].

   Whatever the ids are, nothing is read or written outside these arrays. Where the answer is not
   MODEL_OK, nothing is written. No rows are answered with nothing. It allocates nothing and keeps
   nothing, so threads may call it at once. */
int model_predict(const int64_t *ids, size_t rows, size_t length, float *logits);

#ifdef __cplusplus
}
#endif
#endif

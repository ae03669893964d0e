/* What a compiler may call though no program names it, for WebAssembly without a C library. */
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    unsigned char *at = to;
    const unsigned char *of = from;
    while (size--) *at++ = *of++;
    return to;
}

void *memset(void *to, int value, size_t size) {
    unsigned char *at = to;
    while (size--) *at++ = (unsigned char)value;
    return to;
}

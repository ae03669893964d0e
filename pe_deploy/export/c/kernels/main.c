#ifdef @NAME@_MAIN
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Reads lines of ids with spaces between them; writes the logits of each line. */
int main(void)
{
    static int64_t ids[MAX_LENGTH + 1];
    static float logits[LOGITS(MAX_LENGTH)];
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
        int code = @name@_predict(ids, 1, length, logits);
        if (code != @NAME@_OK) {
            fprintf(stderr, "line %lu: %s\n", line, @name@_message(code));
            return 1;
        }
        for (size_t at = 0; at < LOGITS(length); at++)
            printf(at > 0 ? " %.9g" : "%.9g", (double)logits[at]);
        putchar('\n');
        if (c == '\n') c = getchar();
    }
    return 0;
}
#endif

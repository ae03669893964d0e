/* The place that step `at` reads in a row of `tokens` that is read backwards from its end. */
INLINE size_t turned(size_t at, float tokens, size_t length)
{
    const size_t end = tokens > 0.0f && tokens <= (float)length ? (size_t)tokens : 0;
    return at < end ? end - 1 - at : at;
}

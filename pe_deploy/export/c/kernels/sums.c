/* Adds a number to a sum of many, and keeps what rounding takes off it for the next one (Kahan). */
INLINE void add_to(float *sum, float *lost, float number)
{
    const float added = number - *lost, total = *sum + added;
    *lost = (total - *sum) - added;
    *sum = total;
}

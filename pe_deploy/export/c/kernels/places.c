/* The place that a number means, which counts from the end where it is negative; `length` where there
   is no such place. */
INLINE size_t place_of(float number, size_t length)
{
    if (number < 0.0f) number += (float)length;
    return number >= 0.0f && number < (float)length ? (size_t)number : length;
}

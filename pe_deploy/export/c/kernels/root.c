/* The square root by Newton's method, in double: from a guess whose exponent is halved, five steps
   are exact. It needs no libm, and where there is an instruction for it, that is no faster here. */
static float root(float x)
{
    if (x < 0.0f) return (x - x) / (x - x);
    if (!(x > 0.0f && x < INFINITE)) return x;
    double y = (double)x, guess = 1.0;
    while (guess * guess > y * 4.0) guess *= 0.5;
    while (guess * guess * 4.0 < y) guess *= 2.0;
    for (int step = 0; step < 6; step++) guess = 0.5 * (guess + y / guess);
    return (float)guess;
}

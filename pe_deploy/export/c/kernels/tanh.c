/* tanh(x) = p / q, 3e-8 off before rounding and 4e-7 in float: x times a polynomial in x * x by another, both
   of degree four, fitted by minimax over 0 to 9.02, from where on a float's tanh is 1. Apart, so that
   several divisions become one. And sigmoid(2 x) = (q + p) / (q + q): gates have half weights. */
INLINE void tanh_parts(vector x, vector *p, vector *q)
{
    const vector most = ALL(9.02f), least = ALL(-9.02f);
    x = CHOSEN(x > most, most, x);
    x = CHOSEN(x < least, least, x);
    vector y = x * x;
    vector above = y * 1.33190685e-08f + 2.05834785e-05f;
    vector below = y * 7.76201773e-07f + 3.28309252e-04f;
    above = above * y + 3.49403429e-03f;
    below = below * y + 2.58710720e-02f;
    above = above * y + 1.33797184e-01f;
    below = below * y + 4.67130333e-01f;
    *p = (above * y + 1.0f) * x;
    *q = below * y + 1.0f;
}

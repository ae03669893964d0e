/* One step of an LSTM for R rows and V vectors of its state.

       in, out, forget = sigmoid(given + u * h)      new = tanh(given + u * h)
       cell            = forget * cell + in * new    h   = out * tanh(cell) */
INLINE void lstm_block(const int R, const int V, const int placed, const size_t hidden,
                       const size_t stride, const size_t lane, const float *u,
                       const float *const *from, const float *place, const float *h, float *cell,
                       float *out)
{
    vector gate[8][4][4];
    u += lane / 16 * 64 * hidden + lane % 16;
    EACH(v, V) EACH(r, R) EACH(g, 4) {
        const size_t at = (lane + (size_t)(v * LANES)) / 16 * 64 + (lane + (size_t)(v * LANES)) % 16;
        gate[r][v][g] = LOAD(from[r] + at + g * 16);
        if (placed) gate[r][v][g] += LOAD(place + at + g * 16);
    }
    for (size_t k = 0; k < hidden; k++, u += 64) {
        EACH(v, V) EACH(g, 4) {
            vector w = LOAD(u + (size_t)(v * LANES / 16) * 64 * hidden + v * LANES % 16 + g * 16);
            EACH(r, R) gate[r][v][g] += w * h[(size_t)r * stride + k];
        }
    }
    EACH(v, V) EACH(r, R) {
        const size_t own = (size_t)r * stride + lane + (size_t)(v * LANES);
        vector pi, qi, po, qo, pf, qf, pn, qn, pc, qc;
        tanh_parts(gate[r][v][0], &pi, &qi);
        tanh_parts(gate[r][v][2], &pf, &qf);
        tanh_parts(gate[r][v][3], &pn, &qn);
        vector moved = ((qf + pf) * LOAD(cell + own) * (qi * qn) + (qi + pi) * pn * qf) /
                       ((qf + qf) * (qi * qn));
        STORE(cell + own, moved);
        tanh_parts(gate[r][v][1], &po, &qo);
        tanh_parts(moved, &pc, &qc);
        STORE(out + own, (qo + po) * pc / ((qo + qo) * qc));
    }
}

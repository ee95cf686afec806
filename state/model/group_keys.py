"""Spelling of a key group as a Bytewax key, chosen so that groups spread exactly evenly over workers (DECISIONS, Key
groups).

Bytewax sends a key to worker ``SipHash-1-3(utf-8 key + 0xff) % workers``. The suffixes make that hash modulo 240
equal to the group, so worker w of n has the groups g with ``g % n == w`` for every n that divides 240. A spelling is
on-disk format: it names the group in Bytewax's recovery store.
"""

# fmt: off
_SUFFIXES = (
    76, 474, 401, 618, 237, 48, 61, 134, 49, 63, 42, 70, 219, 13, 330, 49, 2, 41, 186, 24,
    0, 229, 481, 33, 259, 367, 230, 222, 108, 745, 438, 129, 208, 48, 69, 116, 406, 133, 1104, 18,
    83, 220, 864, 297, 42, 36, 121, 106, 88, 22, 73, 14, 596, 311, 95, 21, 266, 14, 89, 8,
    227, 128, 223, 1561, 300, 364, 296, 118, 195, 184, 155, 259, 393, 182, 118, 38, 64, 26, 172, 291,
    403, 1025, 69, 686, 63, 130, 221, 27, 377, 50, 99, 348, 9, 604, 216, 374, 443, 123, 486, 22,
    150, 42, 71, 88, 173, 340, 77, 450, 974, 22, 54, 272, 492, 31, 561, 571, 5, 756, 30, 392,
    59, 87, 307, 352, 89, 159, 260, 151, 7, 371, 69, 2, 42, 8, 40, 313, 40, 317, 155, 177,
    94, 156, 115, 136, 157, 190, 159, 5, 324, 41, 162, 289, 159, 43, 384, 69, 166, 87, 429, 572,
    272, 2, 36, 165, 376, 336, 327, 191, 182, 303, 95, 573, 448, 62, 35, 203, 96, 180, 459, 118,
    129, 94, 21, 110, 205, 87, 314, 37, 46, 2, 140, 60, 120, 148, 318, 911, 34, 344, 191, 113,
    21, 301, 156, 295, 11, 114, 21, 82, 61, 265, 676, 39, 81, 8, 682, 34, 247, 149, 142, 1189,
    37, 158, 186, 674, 241, 23, 160, 380, 68, 132, 13, 425, 108, 161, 44, 327, 226, 269, 292, 44,
)
# fmt: on

GROUP_KEYS: tuple[str, ...] = tuple(f"{group}.{suffix}" for group, suffix in enumerate(_SUFFIXES))


def group_of_key(key: str) -> int:
    """The group that a spelling names."""
    return int(key.partition(".")[0])

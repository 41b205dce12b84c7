"""What a text of an event can be, when somebody wants it to be more than text."""

from typing import Final

MARKUP: Final = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
RIGHT_TO_LEFT: Final = "invoice_\u202egnp.exe \u2067\u200f\u061c"
CONTROL: Final = "a\x00b\x1b[31mc\x07\r\nd\u2028e\x9bf"
LONG_WORD: Final = "W" * 900
ALL: Final = (MARKUP, RIGHT_TO_LEFT, CONTROL, LONG_WORD)

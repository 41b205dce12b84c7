"""The console script: the command line, and what Ctrl-C does while it is not there yet, and when it is done.

Importing a command takes up to two seconds. Until it is there a Ctrl-C ends the process at once and in one line; a
KeyboardInterrupt would come up in the middle of somebody's import. Behind the command's end there is nothing left to
interrupt, and its exit code stands. So this module imports nothing by itself.
"""


def main() -> int:
    """Run a command; the exit code."""
    try:
        import os
        import signal

        def leave(number: int, frame: object) -> None:
            os.write(2, b"interrupted\n")
            os._exit(1)

        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else Ctrl-C is somebody else's matter
        if ours:
            signal.signal(signal.SIGINT, leave)

        from consumer.cli.main import main as command_line

        def loaded() -> None:
            if ours:
                signal.signal(signal.SIGINT, signal.default_int_handler)

        code = command_line(loaded=loaded)
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return code
    except KeyboardInterrupt:  # before there was anybody to say so
        return 1


if __name__ == "__main__":
    raise SystemExit(main())

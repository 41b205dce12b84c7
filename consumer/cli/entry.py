"""The console script: runs the command line, and handles Ctrl-C before it is imported and after it has ended.

Importing a command takes up to two seconds. Until then Ctrl-C ends the process at once and with one line, where a
KeyboardInterrupt would come up in the middle of some import. After the command's end there is nothing left to
interrupt, and its exit code counts. So this module itself imports nothing.
"""


def main() -> int:
    """Run a command. Returns the exit code."""
    try:
        import os
        import signal

        def leave(number: int, frame: object) -> None:
            os.write(2, b"interrupted\n")
            os._exit(1)

        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the caller decides about Ctrl-C
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
    except KeyboardInterrupt:  # before ``leave`` was installed
        return 1


if __name__ == "__main__":
    raise SystemExit(main())

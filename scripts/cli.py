"""What the scripts' command lines share: an error is one line on standard error and exit status 1."""
import argparse
import sys


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(1)

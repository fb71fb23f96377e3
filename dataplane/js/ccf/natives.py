"""Functions below `ccf` that the caller of the interpreter provides, by dotted name.

`ccf.consensus`, `ccf.historical` and `ccf.gov` always have their functions, whether or not they are served: libraries
bind them when they are imported (node-api.md 5.2). One that is not served throws when it is called.
"""

from dataplane.errors import CcfError
from dataplane.js.host import Host
from dataplane.js.quickjs import Arguments, Thrown, Value


def call_native(host: Host, count: int, argv: Arguments) -> Value:
    """Call a provided function. `CcfError`, `ValueError` and `TypeError` become JavaScript exceptions."""
    context = host.context
    name = context.text(argv[1])
    function = host.invocation.natives.get(name)
    if function is None:
        raise Thrown(f"ccf.{name} is not served in this context")
    arguments = [context.to_python(argv[index]) for index in range(2, count)]
    try:
        return context.from_python(function(*arguments))
    except TypeError as error:
        raise Thrown(f"ccf.{name}: {error}", "TypeError") from error
    except (CcfError, ValueError) as error:
        raise Thrown(str(error)) from error


def load_rare(host: Host, _count: int, _argv: Arguments) -> Value:
    """The function that builds the rarer half of `ccf`."""
    return host.load_rare()

"""A gRPC server as its own reflection describes it: no generated code, no .proto file.

Messages go in and come out as canonical ProtoJSON with the contract's field names (64-bit integers are strings, enums
are names, defaults are left out), so that whoever reads the summary needs no protobuf. Errors come out with every
detail of `grpc-status-details-bin`, decoded by descriptors that came from reflection too.

Not here: what is called and in which order (client.py), and what is expected (tests/tests/foreign.rs).
"""

import contextlib
import itertools

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

CALLER = "x-tiershift-dev-caller"
DETAILS = "grpc-status-details-bin"

# Seconds. A unary call asks the simulated cloud at most; a watch lasts as long as a change.
UNARY_TIMEOUT_S = 20
WATCH_TIMEOUT_S = 100

# Messages of a stream that are enough to see what it says: the last event, and the end.
FIRST_MESSAGES = 2


class Refused(Exception):
    """A call that ended with another status than OK."""

    def __init__(self, answer):
        super().__init__(f"{answer['code']}: {answer['message']} {answer['details']}")
        self.answer = answer


class Server:
    """One server, and whatever it says that it serves."""

    def __init__(self, url):
        self.channel = grpc.insecure_channel(url.removeprefix("http://"))
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.database)

    def services(self):
        """Every service by its full name, with the names of its methods."""
        names = sorted(self.database.get_services())
        return {name: sorted(self.pool.FindServiceByName(name).methods_by_name) for name in names}

    def call(self, method, request, caller):
        """Calls a unary method (`package.Service/Method`) and gives its answer."""
        payload, decode = self._resolve(method, request)
        stub = self.channel.unary_unary(f"/{method}", None, decode)
        try:
            return _plain(stub(payload, timeout=UNARY_TIMEOUT_S, metadata=_metadata(caller)))
        except grpc.RpcError as error:
            raise Refused(self._refusal(error)) from None

    def watch(self, method, request, caller):
        """Calls a streaming method and yields its messages. Closing the generator ends the call."""
        payload, decode = self._resolve(method, request)
        stub = self.channel.unary_stream(f"/{method}", None, decode)
        stream = stub(payload, timeout=WATCH_TIMEOUT_S, metadata=_metadata(caller))
        try:
            for message in stream:
                yield _plain(message)
        except grpc.RpcError as error:
            raise Refused(self._refusal(error)) from None
        finally:
            stream.cancel()

    def try_call(self, method, request, caller):
        """`{"answer": ...}` or `{"refused": ...}`. Of a stream: its first messages, or how it was refused."""
        try:
            if self._method(method).server_streaming:
                with contextlib.closing(self.watch(method, request, caller)) as messages:
                    return {"answer": {"messages": list(itertools.islice(messages, FIRST_MESSAGES))}}
            return {"answer": self.call(method, request, caller)}
        except Refused as refused:
            return {"refused": refused.answer}

    def try_raw(self, path, payload, caller):
        """Sends bytes to any path, as a client that has no descriptor for them, or a broken one."""
        stub = self.channel.unary_unary(f"/{path}")
        try:
            return {"answer": {"bytes": len(stub(payload, timeout=UNARY_TIMEOUT_S, metadata=_metadata(caller)))}}
        except grpc.RpcError as error:
            return {"refused": self._refusal(error)}

    def _method(self, method):
        service, name = method.split("/")
        return self.pool.FindServiceByName(service).methods_by_name[name]

    def _resolve(self, method, request):
        descriptor = self._method(method)
        message = message_factory.GetMessageClass(descriptor.input_type)()
        json_format.ParseDict(request, message, descriptor_pool=self.pool)
        answer = message_factory.GetMessageClass(descriptor.output_type)
        return message.SerializeToString(), answer.FromString

    def _refusal(self, error):
        packed = dict(error.trailing_metadata() or ()).get(DETAILS)
        details = {}
        status_code = None
        if packed is not None:
            descriptor = self.pool.FindMessageTypeByName("google.rpc.Status")
            status = message_factory.GetMessageClass(descriptor).FromString(packed)
            status_code = status.code
            for detail in status.details:
                name = detail.type_url.rpartition("/")[2]
                kind = message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))
                details[name] = _plain(kind.FromString(detail.value))
        return {
            "code": error.code().name,
            "number": error.code().value[0],
            "details_number": status_code,
            "message": error.details(),
            "details": details,
        }


def _metadata(caller):
    return () if caller is None else ((CALLER, caller),)


def _plain(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)

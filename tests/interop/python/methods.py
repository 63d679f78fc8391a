"""The messages of Snakepit's service, found by the methods that have them."""

from google.protobuf.message_factory import GetMessageClass

from stubs import bridge

SERVICE = "snakepit.bridge.BridgeService"
METHODS = bridge.DESCRIPTOR.services_by_name["BridgeService"].methods_by_name


def request_class(method):
    return GetMessageClass(METHODS[method].input_type)


def response_class(method):
    return GetMessageClass(METHODS[method].output_type)


def path(method):
    return f"/{SERVICE}/{method}"

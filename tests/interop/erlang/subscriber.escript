#!/usr/bin/env escript
%% A subscriber that puts on the wire what gun and elixir-grpc do, and needs nothing but Erlang: windows of
%% 8,000,000 bytes, no grpc-accept-encoding, a deadline of 5 s that it ignores, a DATA frame for each control,
%% and a request that is never ended.
%%
%%     subscriber.escript PORT [ping] [off | rate RATE | allow GLOB | deny GLOB]...
%%
%% Prints the name of each event, then how the stream ended. Exits with 0 if that was with trailers that have
%% the status 0, after whole messages. With `ping` the connection's first call is Ping, as a pool's is.
-mode(compile).

-define(WINDOW, 8000000).
-define(DATA, 0).
-define(HEADERS, 1).
-define(RST_STREAM, 3).
-define(SETTINGS, 4).
-define(PING, 6).
-define(GOAWAY, 7).
-define(WINDOW_UPDATE, 8).
-define(END_STREAM, 1).
-define(ACK, 1).
-define(END_HEADERS, 4).
-define(PADDED, 8).

main([Port | Words]) ->
    Options = [binary, {active, false}, {nodelay, true}],
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, list_to_integer(Port), Options),
    put(socket, Socket),
    put(authority, "localhost:" ++ Port),
    put(dynamic_table, []),
    put(goaway, none),
    send([<<"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n">>, frame(?SETTINGS, 0, 0, <<4:16, ?WINDOW:32>>)]),
    send(frame(?WINDOW_UPDATE, 0, 0, <<(?WINDOW - 65535):32>>)),
    {Stream, Controls} =
        case Words of
            ["ping" | Others] -> ping(1), {3, Others};
            _ -> {1, Words}
        end,
    open(Stream, "StreamTelemetry", [{"grpc-timeout", "5S"}]),
    send(message(Stream, 0, <<10, 2, 8, 1>>)),
    [send(message(Stream, 0, Control)) || Control <- controls(Controls)],
    Print = fun(Event) -> io:format("~s~n", [lists:join(".", event_parts(Event))]) end,
    {End, Rest} = receive_call(Stream, Print),
    io:format("end: ~p, goaway: ~p, bytes left: ~b~n", [End, get(goaway), byte_size(Rest)]),
    halt(case {End, Rest} of {status_0, <<>>} -> 0; _ -> 1 end).

%% The first call of a connection. Its answer has to have the same text.
ping(Stream) ->
    open(Stream, "Ping", []),
    Text = field(1, <<"connection_test">>),
    send(message(Stream, ?END_STREAM, Text)),
    Check = fun(Answer) -> {_, _} = binary:match(Answer, Text) end,
    {status_0, <<>>} = receive_call(Stream, Check).

%% The messages of controls, by option.
controls([]) -> [];
controls(["off" | Options]) -> [<<10, 0>> | controls(Options)];
controls(["rate", Rate | Options]) ->
    [field(2, <<9, (list_to_float(Rate)):64/float-little>>) | controls(Options)];
controls(["allow", Glob | Options]) -> [field(3, field(1, list_to_binary(Glob))) | controls(Options)];
controls(["deny", Glob | Options]) -> [field(3, field(2, list_to_binary(Glob))) | controls(Options)].

open(Stream, Method, More) ->
    Headers = [
        {":method", "POST"},
        {":scheme", "http"},
        {":path", "/snakepit.bridge.BridgeService/" ++ Method},
        {":authority", get(authority)},
        {"content-type", "application/grpc+proto"},
        {"user-agent", "grpc-elixir/0.11.5"},
        {"te", "trailers"} | More
    ],
    Literals = [[0, length(Name), Name, length(Value), Value] || {Name, Value} <- Headers],
    send(frame(?HEADERS, ?END_HEADERS, Stream, Literals)).

%% Receives a call's messages until it ends. Returns how it ended, and bytes that are no message.
receive_call(Stream, Handle) -> receive_call(Stream, Handle, no_headers_yet, <<>>).

receive_call(Stream, Handle, Headers, Buffer) ->
    case receive_frame() of
        {?DATA, Flags, Stream, Payload} ->
            Data = unpad(Flags, Payload),
            give_back(Stream, byte_size(Payload)),
            Rest = cut(<<Buffer/binary, Data/binary>>, Handle),
            case Flags band ?END_STREAM of
                0 -> receive_call(Stream, Handle, Headers, Rest);
                _ -> {ended_without_trailers, Rest}
            end;
        {?HEADERS, Flags, Stream, Payload} when Flags band ?END_HEADERS =/= 0 ->
            Decoded = decode_headers(unpad(Flags, Payload)),
            case Flags band ?END_STREAM of
                0 -> receive_call(Stream, Handle, Decoded, Buffer);
                _ -> {status(Decoded), Buffer}
            end;
        {?RST_STREAM, _, Stream, <<Code:32>>} -> {{reset, Code}, Buffer};
        {closed, Reason} -> {{closed, Reason}, Buffer}
    end.

%% The next frame of a stream. Those of the connection are answered.
receive_frame() ->
    case gen_tcp:recv(get(socket), 9) of
        {ok, <<Length:24, Type, Flags, _:1, Stream:31>>} ->
            on_frame(Type, Flags, Stream, receive_bytes(Length));
        {error, Reason} -> {closed, Reason}
    end.

on_frame(?SETTINGS, 0, 0, _) -> send(frame(?SETTINGS, ?ACK, 0, <<>>)), receive_frame();
on_frame(?SETTINGS, ?ACK, 0, _) -> receive_frame();
on_frame(?PING, 0, 0, Payload) -> send(frame(?PING, ?ACK, 0, Payload)), receive_frame();
on_frame(?WINDOW_UPDATE, _, _, _) -> receive_frame();
on_frame(?GOAWAY, _, 0, <<_:1, Last:31, Code:32, _/binary>>) -> put(goaway, {Last, Code}), receive_frame();
on_frame(Type, Flags, Stream, Payload) -> {Type, Flags, Stream, Payload}.

receive_bytes(0) -> <<>>;
receive_bytes(Length) -> {ok, Bytes} = gen_tcp:recv(get(socket), Length), Bytes.

give_back(_, 0) -> ok;
give_back(Stream, Size) -> send([frame(?WINDOW_UPDATE, 0, Id, <<Size:32>>) || Id <- [0, Stream]]).

unpad(Flags, <<Padding, Bytes/binary>>) when Flags band ?PADDED =/= 0 ->
    binary:part(Bytes, 0, byte_size(Bytes) - Padding);
unpad(_, Bytes) -> Bytes.

%% Handles whole messages and returns the rest. A compressed one is never expected.
cut(<<0, Length:32, Message:Length/binary, Rest/binary>>, Handle) -> Handle(Message), cut(Rest, Handle);
cut(Rest, _) -> Rest.

%% Field 1, repeated string, which stands first.
event_parts(<<10, Length, Part:Length/binary, Rest/binary>>) when Length < 128 -> [Part | event_parts(Rest)];
event_parts(_) -> [].

%% HPACK without Huffman's code: strings stay as they are sent, {IsHuffman, Bytes}. The dynamic table is never
%% full.
decode_headers(<<>>) -> [];
decode_headers(<<1:1, _/bits>> = Block) ->
    {Index, Rest} = integer(7, Block),
    [entry(Index) | decode_headers(Rest)];
decode_headers(<<1:2, _/bits>> = Block) ->
    {Header, Rest} = literal(6, Block),
    put(dynamic_table, [Header | get(dynamic_table)]),
    [Header | decode_headers(Rest)];
decode_headers(<<1:3, _/bits>> = Block) ->
    {_NewTableSize, Rest} = integer(5, Block),
    decode_headers(Rest);
decode_headers(Block) ->
    {Header, Rest} = literal(4, Block),
    [Header | decode_headers(Rest)].

entry(Index) when Index =< 61 -> {{static, Index}, {static, Index}};
entry(Index) -> lists:nth(Index - 61, get(dynamic_table)).

literal(Prefix, Block) ->
    {Name, Rest} =
        case integer(Prefix, Block) of
            {0, Strings} -> string(Strings);
            {Index, Strings} -> {element(1, entry(Index)), Strings}
        end,
    {Value, More} = string(Rest),
    {{Name, Value}, More}.

string(<<IsHuffman:1, _/bits>> = Block) ->
    {Length, Rest} = integer(7, Block),
    <<Bytes:Length/binary, More/binary>> = Rest,
    {{IsHuffman, Bytes}, More}.

integer(Prefix, <<Byte, Rest/binary>>) ->
    Largest = (1 bsl Prefix) - 1,
    case Byte band Largest of
        Largest -> integer_rest(Rest, Largest, 0);
        Small -> {Small, Rest}
    end.

integer_rest(<<0:1, Bits:7, Rest/binary>>, Sum, Shift) -> {Sum + (Bits bsl Shift), Rest};
integer_rest(<<1:1, Bits:7, Rest/binary>>, Sum, Shift) ->
    integer_rest(Rest, Sum + (Bits bsl Shift), Shift + 7).

%% status_0, or all trailers.
status(Trailers) ->
    Names = [{0, <<"grpc-status">>}, {1, <<16#9acac8b21234da8f:64>>}],
    Zeros = [{0, <<"0">>}, {1, <<16#07>>}],
    case [Value || {Name, Value} <- Trailers, lists:member(Name, Names), lists:member(Value, Zeros)] of
        [_] -> status_0;
        [] -> Trailers
    end.

%% A protobuf field of up to 127 bytes.
field(Number, Bytes) -> <<(Number bsl 3 bor 2), (byte_size(Bytes)), Bytes/binary>>.

message(Stream, Flags, Bytes) -> frame(?DATA, Flags, Stream, [<<0, (byte_size(Bytes)):32>>, Bytes]).

frame(Type, Flags, Stream, Payload) -> [<<(iolist_size(Payload)):24, Type, Flags, Stream:32>>, Payload].

send(Bytes) -> ok = gen_tcp:send(get(socket), Bytes).

// A server of the contract over grpc-web, by descriptors that are read at run time: no generated code.
//
// Messages go in and come out as canonical ProtoJSON with the contract's field names (64-bit integers are strings, enums
// are names, defaults are left out), as the Python client has them. Errors come out with every detail of the trailer
// `grpc-status-details-bin`. The transport is the one for browsers, over Node's own fetch.
//
// Not here: what is called and in which order (client.mjs), and what is expected (tests/tests/foreign.rs).

import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, fromJson, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, decodeBinaryHeader } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

const CALLER = "x-tiershift-dev-caller";
const DETAILS = "grpc-status-details-bin";

// Milliseconds. A unary call asks the simulated cloud at most; a watch lasts as long as a change.
const UNARY_TIMEOUT_MS = 20_000;
const WATCH_TIMEOUT_MS = 100_000;

// Messages of a stream that are enough to see what it says: the last event, and the end.
const FIRST_MESSAGES = 2;

/** A call that ended with another status than OK. */
export class Refused extends Error {
  constructor(answer) {
    super(`${answer.code}: ${answer.message} ${JSON.stringify(answer.details)}`);
    this.answer = answer;
  }
}

/** Descriptors of an encoded google.protobuf.FileDescriptorSet. */
export function readContract(path) {
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(path)));
}

/** One server. */
export class Server {
  constructor(url, contract) {
    this.contract = contract;
    this.transport = createGrpcWebTransport({ baseUrl: url });
  }

  /** Calls a unary method (`package.Service/Method`): its answer, and the trailers that came with it. */
  async call(path, request, caller) {
    const method = this.#method(path);
    let trailers;
    const onTrailer = (received) => (trailers = received);
    const options = { headers: headers(caller), timeoutMs: UNARY_TIMEOUT_MS, onTrailer };
    try {
      const answer = await this.#client(method)[method.localName](this.#message(method, request), options);
      return { answer: this.#plain(method.output, answer), trailers: Object.fromEntries(trailers) };
    } catch (error) {
      throw this.#refused(error);
    }
  }

  /** Calls a streaming method and yields its messages. Leaving the loop ends the call. */
  async *watch(path, request, caller) {
    const method = this.#method(path);
    const leave = new AbortController();
    // Not `timeoutMs`: its timer outlives a stream that was left early, and with it the process.
    const signal = AbortSignal.any([leave.signal, AbortSignal.timeout(WATCH_TIMEOUT_MS)]);
    const options = { headers: headers(caller), signal };
    try {
      for await (const message of this.#client(method)[method.localName](this.#message(method, request), options)) {
        yield this.#plain(method.output, message);
      }
    } catch (error) {
      throw this.#refused(error);
    } finally {
      leave.abort();
    }
  }

  /** `{answer}` or `{refused}`. Of a stream: its first messages, or how it was refused. */
  async tryCall(path, request, caller) {
    try {
      if (this.#method(path).methodKind === "server_streaming") {
        const messages = [];
        for await (const message of this.watch(path, request, caller)) {
          if (messages.push(message) === FIRST_MESSAGES) break;
        }
        return { answer: { messages } };
      }
      return { answer: (await this.call(path, request, caller)).answer };
    } catch (error) {
      if (error instanceof Refused) {
        return { refused: error.answer };
      }
      throw error;
    }
  }

  #method(path) {
    const [service, name] = path.split("/");
    return this.contract.getService(service).methods.find((method) => method.name === name);
  }

  #client(method) {
    return createClient(method.parent, this.transport);
  }

  #message(method, request) {
    return fromJson(method.input, request, { registry: this.contract });
  }

  #plain(schema, message) {
    return toJson(schema, message, { useProtoFieldName: true, registry: this.contract });
  }

  #refused(error) {
    if (!(error instanceof ConnectError)) {
      return error;
    }
    const packed = error.metadata.get(DETAILS);
    const status = packed === null ? null : decodeBinaryHeader(packed, this.contract.getMessage("google.rpc.Status"));
    const details = {};
    for (const detail of status?.details ?? []) {
      const schema = this.contract.getMessage(detail.typeUrl.slice(detail.typeUrl.lastIndexOf("/") + 1));
      details[schema.typeName] = this.#plain(schema, fromBinary(schema, detail.value));
    }
    return new Refused({
      code: Code[error.code].replace(/(?<!^)([A-Z])/g, "_$1").toUpperCase(),
      number: error.code,
      details_number: status?.code ?? null,
      message: error.rawMessage,
      details,
    });
  }
}

function headers(caller) {
  return caller === null ? {} : { [CALLER]: caller };
}

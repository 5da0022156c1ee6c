"""An asyncio server and its clients in one process: some answers are computed in the loop, others
in an executor.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import torch
from observed import Observed, Training, arguments


def main():
    out, steps = arguments()
    training, observed = Training(), Observed(out)
    pool = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,))

    def compute(number):
        with torch.inference_mode():
            return training.model(training.data(number)[0]).sum().item()

    async def answer(reader, writer):
        while line := await reader.readline():
            number = int(line)
            if number % 2:
                value = await asyncio.get_running_loop().run_in_executor(pool, compute, number)
            else:
                value = compute(number)
            writer.write(value.hex().encode() + b"\n")
            await writer.drain()
        writer.close()

    async def serve():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        while observed.step < steps:
            writer.write(b"%d\n" % observed.step)
            observed.done(float.fromhex((await reader.readline()).decode()))
            await asyncio.sleep(0.001)
        writer.close()
        server.close()
        await server.wait_closed()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
